//! Help on the numbers of optimizers, from the library's list.

use ztilde::{Method, Optimizer};

/// A number of all optimizers, with its defaults.
pub(crate) fn of_optimizers(what: &str, number: impl Fn(&Optimizer) -> Option<f64>) -> String {
    let numbers = Method::ALL.map(Optimizer::usual);
    let numbers: Vec<f64> = numbers.iter().filter_map(&number).collect();
    let count = |of: &f64| numbers.iter().filter(|number| *number == of).count();
    let mut defaults = numbers.clone();
    defaults.sort_by(f64::total_cmp);
    defaults.dedup();
    // The number of most optimizers needs no names.
    let most = defaults.iter().position(|default| 2 * count(default) > numbers.len());
    let most = most.map(|place| short(defaults.remove(place)));
    let of = |default: &f64| {
        format!("{} for {}", short(*default), names(|usual| number(usual) == Some(*default)))
    };
    let others = defaults.iter().map(of).collect::<Vec<_>>().join(", ");
    let texts: Vec<_> = most.into_iter().chain([others]).filter(|text| !text.is_empty()).collect();
    format!("{what} [default: {}]", texts.join(", but "))
}

/// A number that only some methods have, under the library's name.
pub(crate) fn of_methods(what: &str, name: &str) -> String {
    let value = |usual: &Optimizer| {
        let mut method = usual.method;
        let found = method.hyperparameters().into_iter().find(|(found, _)| *found == name);
        found.map(|(_, value)| *value)
    };
    of_optimizers(&format!("With {}: {what}", names(|usual| value(usual).is_some())), value)
}

/// The optimizers of a kind.
pub(crate) fn names(is_of_kind: impl Fn(&Optimizer) -> bool) -> String {
    let mut usual = Method::ALL.map(Optimizer::usual).to_vec();
    usual.retain(|usual| is_of_kind(usual));
    let names: Vec<_> = usual.iter().map(|usual| usual.method.name()).collect();
    match &names[..] {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}

/// 1e-8 rather than 0.00000001.
fn short(number: f64) -> String {
    if number > 0.0 && number < 1e-4 { format!("{number:e}") } else { number.to_string() }
}
