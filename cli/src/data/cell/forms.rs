//! The forms in which tables write numbers: with a unit, with thousands separators, with a decimal comma, as
//! a date or a time.

use serde::{Deserialize, Serialize};

use super::time;

/// The currencies among the units. The other units are % and ‰.
const CURRENCY_SIGNS: &str = "$€£¥₹₽₩₪₫₺₴₦₱฿₡₲₵₸₿¢";
const CURRENCY_CODES: [&str; 24] = [
    "USD", "EUR", "GBP", "JPY", "CHF", "CNY", "INR", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK",
    "PLN", "CZK", "HUF", "RUB", "TRY", "BRL", "MXN", "ZAR", "KRW", "SGD", "HKD",
];

/// The longest unit: `US$`, in bytes.
const UNIT_BYTES: usize = 6;

/// Thousands separators, in addition to the comma or point that is not the decimal separator.
const SPACES: [char; 5] = [' ', '\u{a0}', '\u{202f}', '\'', '’'];

/// The notation of the numbers in a column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Form {
    /// As programs write numbers, such as -1.5e3.
    #[default]
    Plain,
    /// With a unit, thousands separators, or a decimal comma.
    Number { unit: Option<String>, decimal: Decimal },
    /// Dates and times, in the notation of `strftime`.
    Time(String),
}

/// The decimal separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Decimal {
    Point,
    Comma,
}

impl Form {
    /// Numbers with a decimal comma, whose points separate thousands.
    pub(crate) const DECIMAL_COMMA: Self = Self::Number { unit: None, decimal: Decimal::Comma };

    /// The forms that fit a cell, the most likely first; none for a plain number.
    pub(crate) fn fitting(text: &str) -> Vec<Self> {
        if !text.contains(|letter: char| letter.is_ascii_digit()) || text.parse::<f64>().is_ok() {
            return Vec::new();
        }
        let mut forms: Vec<_> = time::fitting(text).into_iter().map(Self::Time).collect();
        if let Some((unit, _)) = split(text) {
            let unit = unit.map(str::to_owned);
            let numbers = [Decimal::Point, Decimal::Comma]
                .map(|decimal| Self::Number { unit: unit.clone(), decimal });
            forms.extend(numbers.into_iter().filter(|form| form.number(text).is_some()));
        }
        forms
    }

    /// The number in a cell, if the cell has this form.
    pub(crate) fn number(&self, text: &str) -> Option<f64> {
        match self {
            Self::Plain => text.parse().ok(),
            Self::Number { unit, decimal } => {
                let (found, number) = split(text)?;
                let number = (found == unit.as_deref()).then(|| number.read(*decimal))??;
                number.is_finite().then_some(number)
            }
            Self::Time(format) => time::number(text, format),
        }
    }

    /// As [`number`](Self::number), for a cell that is read after training. A date may also be in ISO
    /// 8601, the form in which dates of Parquet files are read.
    pub(crate) fn later_number(&self, text: &str) -> Option<f64> {
        let Self::Time(format) = self else { return self.number(text) };
        self.number(text).or_else(|| time::standard(text, format))
    }

    /// Whether a column of this form may contain a plain number.
    pub(crate) fn takes_plain(&self, number: &str) -> bool {
        match self {
            Self::Plain => true,
            Self::Number { unit: None, decimal } => {
                *decimal == Decimal::Point || !number.contains(['.', 'e', 'E'])
            }
            _ => false,
        }
    }

    /// Whether it has a decimal comma.
    pub(crate) fn has_comma(&self) -> bool {
        matches!(self, Self::Number { decimal: Decimal::Comma, .. })
    }

    /// The form of a cell, for messages: `"3%" is a percentage`.
    pub(crate) fn kind(&self, text: &str) -> String {
        match self {
            Self::Plain => "a plain number".to_owned(),
            Self::Number { unit: Some(unit), .. } if unit == "%" || unit == "‰" => {
                format!("a percentage ({unit})")
            }
            Self::Number { unit: Some(unit), .. } => format!("an amount of money ({unit})"),
            Self::Number { unit: None, .. } if text.starts_with('(') => {
                "a negative number in parentheses".to_owned()
            }
            Self::Number { unit: None, .. } if text.contains(['d', 'D']) => {
                "a number with Fortran's exponent D".to_owned()
            }
            Self::Number { unit: None, decimal: Decimal::Comma }
                if text.contains('.') && !text.contains(',') =>
            {
                "a number with points as thousands separators".to_owned()
            }
            Self::Number { unit: None, decimal: Decimal::Comma } => {
                "a number with a decimal comma".to_owned()
            }
            Self::Number { unit: None, decimal: Decimal::Point } => {
                "a number with thousands separators".to_owned()
            }
            Self::Time(format) => time::kind(format),
        }
    }
}

/// A number without its unit.
struct Digits<'a> {
    is_negative: bool,
    body: &'a str,
}

/// Splits a number from its unit, if it has one.
fn split(text: &str) -> Option<(Option<&str>, Digits<'_>)> {
    // Accountants write negative numbers in parentheses.
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    let text = inner.unwrap_or(text).trim();
    let is_digit = |letter: char| letter.is_ascii_digit();
    let (first, last) = (text.find(is_digit)?, text.rfind(is_digit)? + 1);
    let before = &text[..first];
    let start = if before.ends_with(['.', ',']) { first - 1 } else { first };
    let (before, after) = (text[..start].trim(), text[last..].trim());
    let is_sign = |letter: char| "+-−".contains(letter);
    let sign = before.chars().find(|&letter| is_sign(letter));
    let prefix = before.trim_start_matches(is_sign).trim_end_matches(is_sign).trim();
    let signs =
        before.chars().filter(|&letter| is_sign(letter)).count() + usize::from(inner.is_some());
    let unit = match (prefix, after) {
        _ if signs > 1 => return None,
        ("", "") => None,
        ("", unit) if unit == "%" || unit == "‰" || is_currency(unit) => Some(unit),
        (unit, "") if is_currency(unit) => Some(unit),
        _ => return None,
    };
    let is_negative = inner.is_some() || sign.is_some_and(|sign| sign != '+');
    Some((unit, Digits { is_negative, body: &text[start..last] }))
}

fn is_currency(unit: &str) -> bool {
    CURRENCY_CODES.contains(&unit)
        || unit.len() <= UNIT_BYTES
            && unit.chars().any(|letter| CURRENCY_SIGNS.contains(letter))
            && unit.chars().all(|letter| letter.is_alphabetic() || CURRENCY_SIGNS.contains(letter))
}

impl Digits<'_> {
    fn read(&self, decimal: Decimal) -> Option<f64> {
        let (point, separator) = match decimal {
            Decimal::Point => ('.', ','),
            Decimal::Comma => (',', '.'),
        };
        let (mantissa, exponent) = match self.body.find(['e', 'E', 'd', 'D']) {
            None => (self.body, 0),
            Some(at) => {
                let (mantissa, exponent) = (&self.body[..at], &self.body[at + 1..]);
                // A D without a sign after it is more likely part of a name.
                let is_name =
                    self.body[at..].starts_with(['d', 'D']) && !exponent.starts_with(['+', '-']);
                (mantissa, if is_name { return None } else { exponent.parse::<i32>().ok()? })
            }
        };
        let (whole, decimals) = mantissa.split_once(point).unwrap_or((mantissa, ""));
        let whole = ungrouped(whole, separator)?;
        let is_number = decimals.bytes().all(|byte| byte.is_ascii_digit());
        let sign = if self.is_negative { "-" } else { "" };
        is_number.then(|| format!("{sign}{whole}.{decimals}0e{exponent}").parse().ok())?
    }
}

/// Digits without their thousands separators, which are all the same character. Indian numbers have groups
/// of two before the last one.
fn ungrouped(text: &str, separator: char) -> Option<String> {
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(found) = text.chars().find(|letter| !letter.is_ascii_digit()) else {
        return Some(format!("0{text}"));
    };
    if found != separator && !SPACES.contains(&found) {
        return None;
    }
    let groups: Vec<&str> = text.split(found).collect();
    let ([first, middle @ .., last], true) =
        (groups.as_slice(), groups.iter().all(|group| are_digits(group)))
    else {
        return None;
    };
    let is_grouped = (1..=3).contains(&first.len())
        && !first.starts_with('0')
        && middle.iter().all(|group| (2..=3).contains(&group.len()))
        && last.len() == 3;
    is_grouped.then(|| groups.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_the_form_that_they_have() {
        for (text, unit, point, comma) in [
            ("3%", Some("%"), Some(3.0), Some(3.0)),
            ("-12.5 %", Some("%"), Some(-12.5), None),
            ("12,5%", Some("%"), None, Some(12.5)),
            ("$1.20", Some("$"), Some(1.2), None),
            ("-$1,234.50", Some("$"), Some(-1234.5), None),
            ("$-.5", Some("$"), Some(-0.5), None),
            ("($5)", Some("$"), Some(-5.0), Some(-5.0)),
            ("US$ 7", Some("US$"), Some(7.0), Some(7.0)),
            ("1.234,50 €", Some("€"), None, Some(1234.5)),
            ("EUR 3", Some("EUR"), Some(3.0), Some(3.0)),
            ("1,234,567.8", None, Some(1_234_567.8), None),
            ("1.234.567,8", None, None, Some(1_234_567.8)),
            ("1,234", None, Some(1234.0), Some(1.234)),
            ("1'234.5", None, Some(1234.5), None),
            ("1 234\u{a0}567", None, None, None),
            ("1\u{202f}234\u{202f}567", None, Some(1_234_567.0), Some(1_234_567.0)),
            ("12,34,567", None, Some(1_234_567.0), None),
            ("1,5", None, None, Some(1.5)),
            ("−1,5", None, None, Some(-1.5)),
            ("1D+00", None, Some(1.0), Some(1.0)),
            ("1.5d-3", None, Some(0.0015), None),
        ] {
            for (decimal, expected) in [(Decimal::Point, point), (Decimal::Comma, comma)] {
                let form = Form::Number { unit: unit.map(str::to_owned), decimal };
                assert_eq!(form.number(text), expected, "{text:?} with {decimal:?}");
                assert_eq!(Form::fitting(text).contains(&form), expected.is_some(), "{text:?}");
            }
        }
        for text in
            ["1D5", "5 kg", "3rd", "1,2,3", "0,123,456", "--1,5", "$", "$5%", "a1", "1.5", "12:3"]
        {
            assert_eq!(Form::fitting(text), [], "{text:?}");
        }
    }

    #[test]
    fn units_are_the_same_throughout() {
        let dollars = Form::Number { unit: Some("$".to_owned()), decimal: Decimal::Point };
        assert_eq!(dollars.number("$3"), Some(3.0));
        assert_eq!((dollars.number("3"), dollars.number("€3")), (None, None));
        let [point, comma] =
            [Decimal::Point, Decimal::Comma].map(|decimal| Form::Number { unit: None, decimal });
        assert!(point.takes_plain("1.5") && comma.takes_plain("15") && !comma.takes_plain("1.5"));
        assert!(!dollars.takes_plain("1"));
    }
    #[test]
    fn a_later_date_may_be_in_iso_form() {
        let date = Form::Time("%d.%m.%Y".to_owned());
        assert_eq!(date.number("2024-02-29"), None);
        assert_eq!(date.later_number("2024-02-29 12:00:00"), Some(19_782.5));
    }
}
