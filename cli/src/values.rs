//! Values of options: how they are typed, checked, and reported.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use ztilde::{Activation, Loss, Method, Remainder};

/// The weights of classes, typed as `balanced` or `setosa=2,virginica=0.5`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClassWeights {
    Balanced,
    /// Names of classes, and their weights.
    Named(Vec<(String, f64)>),
}

impl std::str::FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "balanced" {
            return Ok(Self::Balanced);
        }
        let weight = |text: &str| {
            let (name, weight) =
                text.rsplit_once('=').ok_or_else(|| format!("{text:?} is no CLASS=WEIGHT"))?;
            let weight = from_0(weight).map_err(|why| format!("the weight of {name:?} {why}"))?;
            Ok((name.to_owned(), weight))
        };
        text.split(',').map(weight).collect::<Result<_, _>>().map(Self::Named)
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => serializer.serialize_str("balanced"),
            Self::Named(weights) => {
                serializer.collect_map(weights.iter().map(|(name, weight)| (name, weight)))
            }
        }
    }
}

/// Layer sizes, typed as `128,64`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sizes(pub(crate) Vec<u32>);

impl std::str::FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let size = |size: &str| match size.trim().parse() {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(format!("the size of a layer is {size:?}, but must be at least 1")),
        };
        text.split(',').map(size).collect::<Result<_, _>>().map(Self)
    }
}

pub(crate) fn activation() -> impl TypedValueParser<Value = Activation> {
    PossibleValuesParser::new(Activation::ALL.map(Activation::name))
        .try_map(|name| Activation::from_name(&name).ok_or("no activation"))
}

pub(crate) fn method() -> impl TypedValueParser<Value = Method> {
    PossibleValuesParser::new(Method::ALL.map(Method::name))
        .try_map(|name| Method::from_name(&name).ok_or("no optimizer"))
}

/// The targets of tables are classes or numbers, not probabilities.
pub(crate) fn loss() -> impl TypedValueParser<Value = Loss> {
    let losses = Loss::ALL.into_iter();
    let known = losses.filter(|loss| loss.has_class_targets() || !loss.has_accuracy());
    PossibleValuesParser::new(known.map(Loss::name))
        .try_map(|name| Loss::from_name(&name).ok_or("no loss"))
}

pub(crate) fn activation_name<S: serde::Serializer>(
    activation: &Activation,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(activation.name())
}

const REMAINDERS: [Remainder; 2] = [Remainder::Drop, Remainder::Keep];

pub(crate) fn remainder_name(remainder: Remainder) -> &'static str {
    match remainder {
        Remainder::Drop => "drop",
        Remainder::Keep => "keep",
    }
}

pub(crate) fn remainder() -> impl TypedValueParser<Value = Remainder> {
    let value = |remainder| {
        PossibleValue::new(remainder_name(remainder)).help(match remainder {
            Remainder::Drop => "Leaves them to the next epoch, which is shuffled again",
            Remainder::Keep => "Makes a smaller mini-batch of them",
        })
    };
    PossibleValuesParser::new(REMAINDERS.map(value)).try_map(|name| {
        REMAINDERS
            .into_iter()
            .find(|&remainder| remainder_name(remainder) == name)
            .ok_or("no remainder policy")
    })
}

pub(crate) fn serialize_remainder<S: serde::Serializer>(
    remainder: &Remainder,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(remainder_name(*remainder))
}

/// The number with the shortest decimals of an `f32`: 1e-5 rather than 9.99999974…e-6.
pub(crate) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(value.into())
}

pub(crate) fn positive(text: &str) -> Result<f64, String> {
    number(text, "above 0", |value| value > 0.0)
}

pub(crate) fn from_0(text: &str) -> Result<f64, String> {
    number(text, "at least 0", |value| value >= 0.0)
}

pub(crate) fn from_0_to_1(text: &str) -> Result<f64, String> {
    number(text, "between 0 and 1", |value| (0.0..=1.0).contains(&value))
}

pub(crate) fn from_0_below_1(text: &str) -> Result<f64, String> {
    number(text, "at least 0 and below 1", |value| (0.0..1.0).contains(&value))
}

fn number(text: &str, expected: &str, accepts: impl Fn(f64) -> bool) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if f64::is_finite(value) && accepts(value) => Ok(value),
        _ => Err(format!("must be a finite number {expected}")),
    }
}
