//! The kind of a column of a table, found by reading it, and the kind of a target.

pub(crate) mod target;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::data::{
    cell::{Cell, Raw, finite, forms::Form, reading::Reading, sort_names},
    columns::names::Names,
    tables::table::{Recode, boxed},
};

/// The most different texts of a column that are counted.
pub(crate) const COUNTED: usize = 100_000;

/// The largest number of classes.
pub(crate) const MOST_CLASSES: usize = 1000;

/// The number of texts that decide whether most have the same form.
const LOOKED_AT: usize = 1000;

/// How a column may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    /// The file declares the column as text, even if its cells are plain numbers.
    Text,
    /// An option makes each value a category.
    Category,
}

/// The findings in a column so far.
pub(crate) struct Findings {
    kind: Kind,
    /// The different texts, in the order of their first cells; each cell holds the index of its text.
    pub(crate) texts: HashMap<String, u32>,
    /// How often each word for a missing value occurred without quotes.
    pub(crate) words: BTreeMap<String, u64>,
    pub(crate) first_text: Option<(u64, String)>,
    first_number: Option<(u64, String)>,
    /// The first number with a decimal point, or an exponent.
    first_point: Option<String>,
    /// Whether the points of all numbers could separate thousands.
    points_group: bool,
    /// The forms that fit all texts, once there is a text.
    forms: Option<Vec<Form>>,
    /// The form that all further texts must have, once there are too many to keep.
    settled: Option<Form>,
    /// Whether the delimiter is a semicolon, which suggests decimal commas.
    prefers_comma: bool,
    pub(crate) numbers: u64,
    /// The bits of the different numbers, until they exceed the largest number of classes.
    different: BTreeSet<u64>,
    is_whole: bool,
    /// Whether the numbers increase by one from row to row, starting at 0 or 1.
    pub(crate) counts_rows: bool,
    last: f64,
}

/// The kind of a column, and how its cells are recoded.
pub(crate) enum Held {
    Nothing,
    Numbers(Form, Recode),
    Texts(Vec<String>, Recode),
}

impl Held {
    /// How the numbers are written, if they are numbers.
    pub(crate) fn form(&self) -> Form {
        match self {
            Self::Numbers(form, _) => form.clone(),
            _ => Form::Plain,
        }
    }
}

impl Findings {
    pub(crate) fn new(kind: Kind, prefers_comma: bool) -> Self {
        Self {
            kind,
            texts: HashMap::new(),
            words: BTreeMap::new(),
            first_text: None,
            first_number: None,
            first_point: None,
            points_group: true,
            forms: None,
            settled: None,
            prefers_comma,
            numbers: 0,
            different: BTreeSet::new(),
            is_whole: true,
            counts_rows: true,
            last: -1.0,
        }
    }

    /// A cell as a number: its value, the [boxed] index of its text, or NaN if it is missing.
    pub(crate) fn take(
        &mut self,
        raw: Raw<'_>,
        line: u64,
        names: &Names,
        at: usize,
    ) -> Result<f64, String> {
        if self.kind == Kind::Any {
            let text = raw.text;
            match Cell::parse(raw) {
                Cell::Number(number) if number.is_finite() => {
                    return self.number(number, text, line, names, at);
                }
                Cell::Number(_) if self.first_number.is_some() || text.contains(is_digit) => {
                    return Err(format!(
                        "{text:?} is not a finite number: correct or empty the cell, or take the \
                         column as text with --categorical {}",
                        names.as_option(&[at])
                    ));
                }
                // A word such as infinity in a column of words, or no number.
                Cell::Number(_) | Cell::Text(_) | Cell::Missing => {}
            }
        }
        self.counts_rows = false;
        if raw.is_missing_text() {
            if !raw.text.is_empty() {
                *self.words.entry(raw.text.to_owned()).or_default() += 1;
            }
            return Ok(f64::NAN);
        }
        self.text(raw, line, names, at)
    }

    fn text(&mut self, raw: Raw<'_>, line: u64, names: &Names, at: usize) -> Result<f64, String> {
        let text = raw.text;
        if let Some(form) = &self.settled {
            if raw.is_word() {
                return Ok(f64::NAN);
            }
            let number = form.number(text);
            return number.ok_or_else(|| {
                let first = self.first_text.as_ref().map_or("", |(_, text)| text);
                mixed(form, first, &format!("{text:?}"), &names.as_option(&[at]))
            });
        }
        if let Some(&place) = self.texts.get(text) {
            return Ok(boxed(place));
        }
        // A quoted NA does not determine the form: it is missing if the column holds numbers.
        if !(self.kind == Kind::Any && raw.is_word()) {
            self.fit(text, line, names, at)?;
        }
        if self.texts.len() == COUNTED {
            self.settled = self.form();
            return match &self.settled {
                Some(_) => self.text(raw, line, names, at),
                None => Ok(f64::NAN),
            };
        }
        let place = self.texts.len() as u32;
        self.texts.insert(text.to_owned(), place);
        Ok(boxed(place))
    }

    /// Takes a new text into account: keeps the forms that fit it, too.
    fn fit(&mut self, text: &str, line: u64, names: &Names, at: usize) -> Result<(), String> {
        if self.first_text.is_none() {
            self.first_text = Some((line, text.to_owned()));
        }
        if self.kind == Kind::Category {
            return Ok(());
        }
        let forms = match self.forms.take() {
            None => Form::fitting(text),
            Some(forms) => forms
                .into_iter()
                .filter(|form| form.number(text).is_some())
                .filter(|_| self.kind == Kind::Any || finite(text).is_none())
                .collect(),
        };
        let Some((first, number)) = &self.first_number else {
            self.forms = Some(forms);
            return Ok(());
        };
        let option = names.as_option(&[at]);
        let plain = self.first_point.as_ref().unwrap_or(number);
        let left: Vec<_> = forms.into_iter().filter(|form| form.takes_plain(plain)).collect();
        if !left.is_empty() {
            self.forms = Some(left);
            return Ok(());
        }
        if let Some(form) = Form::fitting(text).first() {
            return Err(mixed(form, text, &format!("{plain:?}"), &option));
        }
        Err(format!(
            "{text:?} is not a number, as the cells from line {first} on are. Correct or empty the cell, \
             or leave the column out with --drop {option}, or take its numbers as categories with \
             --categorical {option}; if {text:?} stands for a missing value, add it to --missing-values"
        ))
    }

    fn number(
        &mut self,
        number: f64,
        text: &str,
        line: u64,
        names: &Names,
        at: usize,
    ) -> Result<f64, String> {
        if let Some((first, word)) = &self.first_text {
            let takes = |form: &Form| form.takes_plain(text);
            if let Some(form) = &self.settled {
                if !takes(form) {
                    let option = names.as_option(&[at]);
                    return Err(mixed(form, word, &format!("{text:?}"), &option));
                }
            } else {
                let forms = self.forms.get_or_insert_default();
                let form = forms.first().cloned();
                forms.retain(takes);
                if forms.is_empty() {
                    return Err(self.unlike(form, text, *first, word, names, at));
                }
            }
        }
        if self.first_number.is_none() {
            self.first_number = Some((line, text.to_owned()));
        }
        if text.contains(['.', 'e', 'E']) {
            self.points_group &= Form::DECIMAL_COMMA.number(text).is_some();
            self.first_point.get_or_insert_with(|| text.to_owned());
        }
        self.numbers += 1;
        // 0 and -0 are the same class.
        let number = number + 0.0;
        if self.different.len() <= MOST_CLASSES {
            self.different.insert(number.to_bits());
            self.is_whole &= number == number.trunc();
        }
        let is_next = number == self.last + 1.0 || self.numbers == 1 && number == 1.0;
        self.counts_rows &= is_next;
        self.last = number;
        Ok(number)
    }

    /// Why a number is an error in a column of text, or of numbers in another form.
    fn unlike(
        &self,
        form: Option<Form>,
        text: &str,
        first: u64,
        word: &str,
        names: &Names,
        at: usize,
    ) -> String {
        let option = names.as_option(&[at]);
        if let Some(form) = form {
            return mixed(&form, word, &format!("{text:?}"), &option);
        }
        let else_way = if names.from_header {
            format!("if line {first} is not a row, remove it")
        } else {
            format!("if line {first} is the header, --header yes says so")
        };
        format!(
            "{text:?} is a number, but {word:?} in line {first} is none. Correct or empty one of them, \
             or take all numbers of the column as categories with --categorical {option}; if {word:?} \
             stands for a missing value, add it to --missing-values; {else_way}"
        )
    }

    /// The form of all texts; the most likely one if several fit.
    fn form(&self) -> Option<Form> {
        let forms = self.forms.as_ref()?;
        let has_comma = self.prefers_comma && self.texts.keys().any(|text| text.contains(','));
        let with_comma = forms.iter().find(|form| has_comma && form.has_comma());
        with_comma.or(forms.first()).cloned()
    }

    /// The number of different texts, up to [`COUNTED`].
    pub(crate) fn distinct(&self) -> usize {
        self.texts.len()
    }

    /// The same for messages.
    pub(crate) fn counted(&self) -> String {
        let count = self.texts.len();
        if count == COUNTED { format!("over {count}") } else { count.to_string() }
    }

    /// Whether fewer than most of the texts are numbers in one form.
    pub(crate) fn is_free_text(&self) -> bool {
        self.first_text.is_some()
            && self.settled.is_none()
            && self.form().is_none()
            && (self.kind == Kind::Category || self.check_mixed("").is_ok())
    }

    /// The first number with a point, if the points of all numbers could separate thousands instead of
    /// decimals.
    pub(crate) fn grouped(&self) -> Option<&str> {
        self.first_point.as_deref().filter(|_| self.points_group && self.first_text.is_none())
    }

    /// A text in this form, and its number.
    pub(crate) fn example(&self, form: &Form) -> Option<(&str, f64)> {
        let (_, text) = self.first_text.as_ref().filter(|_| *form != Form::Plain)?;
        Some((text, form.number(text)?))
    }

    /// The kind of the column, or an error if most but not all of its cells are numbers in one form.
    pub(crate) fn held(&self, option: &str) -> Result<Held, String> {
        if self.first_text.is_none() && (self.numbers > 0 || self.texts.is_empty()) {
            let is_empty = self.numbers == 0;
            let numbers = Held::Numbers(Form::Plain, Recode::Keep);
            return Ok(if is_empty { Held::Nothing } else { numbers });
        }
        if let Some(form) = self.settled.clone().or_else(|| self.form()) {
            let mut numbers = vec![f64::NAN; self.texts.len()];
            for (text, &place) in &self.texts {
                numbers[place as usize] = form.number(text).unwrap_or(f64::NAN);
            }
            return Ok(Held::Numbers(form, Recode::Unbox(numbers)));
        }
        if self.kind != Kind::Category {
            self.check_mixed(option)?;
        }
        let mut names: Vec<String> = self.texts.keys().cloned().collect();
        sort_names(&mut names);
        let mut places = vec![0.0; names.len()];
        for (name, sorted) in names.iter().zip(0_u32..) {
            places[self.texts[name] as usize] = sorted.into();
        }
        Ok(Held::Texts(names, Recode::Unbox(places)))
    }

    /// Fails if most texts have one form: the others are mistakes, or mark missing values.
    fn check_mixed(&self, option: &str) -> Result<(), String> {
        let mut texts: Vec<_> = self.texts.iter().collect();
        texts.sort_by_key(|(_, place)| **place);
        texts.truncate(LOOKED_AT);
        let mut counts: Vec<(Form, usize)> = Vec::new();
        for form in texts.iter().flat_map(|(text, _)| Form::fitting(text)) {
            match counts.iter_mut().find(|(known, _)| *known == form) {
                Some((_, count)) => *count += 1,
                None => counts.push((form, 1)),
            }
        }
        let Some((form, count)) = counts.iter().max_by_key(|(_, count)| *count) else {
            return Ok(());
        };
        let has_form = |text: &str| form.number(text).is_some();
        let other = texts.iter().find(|(text, _)| !has_form(text));
        let first = texts.iter().find(|(text, _)| has_form(text));
        match (first, other) {
            (Some((first, _)), Some((other, _))) if 2 * count > texts.len() => {
                Err(mixed(form, first, &format!("{other:?}"), option))
            }
            _ => Ok(()),
        }
    }

    /// Whether all texts are plain numbers.
    fn are_numbers(&self) -> bool {
        self.texts.keys().all(|text| finite(text).is_some())
    }

    /// How the model will read cells of this column.
    pub(crate) fn reading(&self, form: Form) -> Reading {
        let is_both = |word: &String| self.texts.contains_key(word);
        Reading { form, unquoted_is_missing: self.words.keys().any(is_both) }
    }
}

fn is_digit(letter: char) -> bool {
    letter.is_ascii_digit()
}

/// The message for a column whose cells have several forms.
fn mixed(form: &Form, text: &str, other: &str, option: &str) -> String {
    format!(
        "{text:?} is {kind}, but {other} is not: write all cells of the column in one form; or leave it \
         out with --drop {option}, or take each value as a category with --categorical {option}; or add \
         words for a missing value to --missing-values",
        kind = form.kind(text)
    )
}
