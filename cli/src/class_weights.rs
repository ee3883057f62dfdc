//! Computes a weight for each class from `--class-weights`.

use ztilde::Targets;

use crate::{
    data::{Rows, Target},
    failure::Failure,
    values::ClassWeights,
};

/// The weights, in the order of the classes.
pub(crate) fn class_weights(
    typed: &ClassWeights,
    target: &Target,
    learned: &Rows,
) -> Result<Vec<f32>, Failure> {
    let Some(classes) = target.classes() else {
        return Err(Failure::input(format!(
            "--class-weights weighs classes, but the target {:?} is a number",
            target.name
        )));
    };
    match typed {
        ClassWeights::Balanced => balanced(classes.len(), learned),
        ClassWeights::Named(weights) => named(weights, classes),
    }
}

fn named(weights: &[(String, f64)], classes: &[String]) -> Result<Vec<f32>, Failure> {
    let mut of_class = vec![None; classes.len()];
    for (name, weight) in weights {
        let Some(place) = classes.iter().position(|class| class == name) else {
            let names: Vec<String> = classes.iter().take(20).map(|n| format!("{n:?}")).collect();
            let more = if classes.len() > names.len() { ", …" } else { "" };
            return Err(Failure::input(format!(
                "--class-weights names {name:?}, but the {} classes are {}{more}",
                classes.len(),
                names.join(", ")
            )));
        };
        if of_class[place].replace(*weight as f32).is_some() {
            return Err(Failure::input(format!("--class-weights names {name:?} twice")));
        }
    }
    Ok(of_class.into_iter().map(|weight| weight.unwrap_or(1.0)).collect())
}

/// The number of all rows, divided by the number of classes and by the rows of the class, so that the
/// mean weight of a row is 1. The weight of a class without rows has no effect.
fn balanced(classes: usize, learned: &Rows) -> Result<Vec<f32>, Failure> {
    let mut rows = vec![0_u64; classes];
    learned.visit(|dataset| {
        if let Targets::Classes(of_rows) = dataset.targets() {
            of_rows.iter().for_each(|&class| rows[class as usize] += 1);
        }
        Ok(())
    })?;
    let all: u64 = rows.iter().sum();
    let weight = |rows: u64| match rows {
        0 => 0.0,
        rows => (all as f64 / (classes as f64 * rows as f64)) as f32,
    };
    Ok(rows.into_iter().map(weight).collect())
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use ztilde::Dataset;

    use super::*;

    #[test]
    fn classes_weigh_the_same_in_sum_when_balanced() {
        let classes = vec![0, 2, 2, 2, 0, 2, 2, 2];
        let dataset = Dataset::new(Array2::zeros([8, 1]), classes).unwrap();
        let weights = balanced(3, &Rows::Memory(dataset)).unwrap();
        assert_eq!(weights, [8.0 / 6.0, 0.0, 8.0 / 18.0].map(|weight: f64| weight as f32));
    }

    #[test]
    fn names_have_to_be_those_of_classes() {
        let classes = ["a", "b=c", "d"].map(str::to_owned);
        let weights = |text: &str| {
            let Ok(ClassWeights::Named(typed)) = text.parse() else { panic!("{text}") };
            named(&typed, &classes)
        };
        assert_eq!(weights("b=c=0.5,d=3").unwrap(), [1.0, 0.5, 3.0]);
        let error = weights("a=1,e=2").unwrap_err().to_string();
        assert!(error.contains("\"e\", but the 3 classes are \"a\", \"b=c\", \"d\""), "{error}");
        assert!(weights("a=1,a=1").unwrap_err().to_string().contains("\"a\" twice"));
        for (text, why) in [("a", "no CLASS=WEIGHT"), ("a=-1", "\"a\" must be"), ("", "no CLASS")] {
            let error = text.parse::<ClassWeights>().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
