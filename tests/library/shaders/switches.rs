//! Every `switch` in a shader chooses among a list of the library, and has a case for each entry.

use std::collections::{BTreeMap, BTreeSet};

use naga::{Block, Expression, Function, Literal, Module, Statement, SwitchCase, SwitchValue};
use ztilde::{Activation, Loss, Method};

use super::for_each_function;

/// The number of `switch` statements in the shaders' files, for each override that selects a case.
const SWITCHES: [(&str, usize); 3] = [("ACTIVATION", 2), ("LOSS", 1), ("METHOD", 1)];

/// The entries' names, in the order of their numbers.
fn list(selector: &str) -> Vec<&'static str> {
    match selector {
        "ACTIVATION" => Activation::ALL.map(Activation::name).to_vec(),
        "LOSS" => Loss::ALL.map(Loss::name).to_vec(),
        "METHOD" => Method::ALL.map(Method::name).to_vec(),
        other => panic!("a switch selects by {other}, which is no list of the library"),
    }
}

#[test]
fn every_switch_has_a_case_for_each_entry_and_no_other_choice() {
    let mut functions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for_each_function(|name, _, module, function, _| {
        for (selector, cases) in switches(module, function) {
            let of = function.name.clone().unwrap_or_default();
            let what = format!("{name}: switch {selector} of {of}");
            check_cases(&what, &list(&selector), module, cases);
            let found = SWITCHES.iter().find(|(listed, _)| **listed == *selector).expect("listed");
            functions.entry(found.0).or_default().insert(of);
        }
        check_uses(name, module, function);
    });
    let found = functions.into_iter().map(|(selector, functions)| (selector, functions.len()));
    assert_eq!(found.collect::<Vec<_>>(), SWITCHES, "switches in the shaders");
}

/// The override that selects the case, and the cases, of each `switch`.
fn switches<'a>(module: &Module, function: &'a Function) -> Vec<(String, &'a [SwitchCase])> {
    let mut found = Vec::new();
    each_statement(&function.body, &mut |statement| {
        if let Statement::Switch { selector, cases } = statement {
            let name = match function.expressions[*selector] {
                Expression::Override(handle) => module.overrides[handle].name.clone(),
                _ => None,
            };
            found.push((name.unwrap_or("no override".to_owned()), &cases[..]));
        }
    });
    found
}

fn each_statement<'a>(block: &'a Block, visit: &mut impl FnMut(&'a Statement)) {
    for statement in block {
        visit(statement);
        match statement {
            Statement::Block(block) => each_statement(block, visit),
            Statement::If { accept, reject, .. } => {
                each_statement(accept, visit);
                each_statement(reject, visit);
            }
            Statement::Loop { body, continuing, .. } => {
                each_statement(body, visit);
                each_statement(continuing, visit);
            }
            Statement::Switch { cases, .. } => {
                cases.iter().for_each(|case| each_statement(&case.body, visit));
            }
            _ => {}
        }
    }
}

fn check_cases(what: &str, list: &[&str], module: &Module, cases: &[SwitchCase]) {
    let mut numbers = Vec::new();
    for case in cases {
        match case.value {
            SwitchValue::U32(number) => numbers.push(number),
            SwitchValue::I32(number) => panic!("{what}: case {number} is signed"),
            SwitchValue::Default => {
                let mut is_nan = false;
                each_statement(&case.body, &mut |statement| {
                    if let Statement::Call { function, .. } = statement {
                        let called = module.functions[*function].name.as_deref();
                        is_nan = is_nan || called == Some("not_a_number");
                    }
                });
                assert!(is_nan, "{what}: the default is a real choice, not not_a_number()");
            }
        }
    }
    numbers.sort_unstable();
    let expected: Vec<u32> = (0..list.len() as u32).collect();
    assert_eq!(numbers, expected, "{what}: its cases (left), and the numbers of {list:?} (right)");
    for (number, name) in (0..).zip(list) {
        let constant = name.to_uppercase().replace('-', "_");
        // An override has the name MOMENTUM.
        let is_named = |found: &str| found == constant || found == format!("{constant}_METHOD");
        let is_there = module.constants.iter().any(|(_, found)| {
            let value = &module.global_expressions[found.init];
            matches!(value, Expression::Literal(Literal::U32(value)) if *value == number)
                && found.name.as_deref().is_some_and(is_named)
        });
        assert!(is_there, "{what}: no const {constant} = {number}u");
    }
}

/// Elsewhere, a comparison with one entry would be a choice that a new entry does not have.
fn check_uses(name: &str, module: &Module, function: &Function) {
    let selects = |expression: &Expression| match expression {
        Expression::Override(handle) => {
            let of = module.overrides[*handle].name.as_deref();
            SWITCHES.iter().any(|(selector, _)| of == Some(*selector))
        }
        _ => false,
    };
    for (_, expression) in function.expressions.iter() {
        if let Expression::Binary { left, right, .. } = expression {
            let is_compared =
                [left, right].into_iter().any(|&of| selects(&function.expressions[of]));
            let of = function.name.as_deref().unwrap_or_default();
            assert!(!is_compared, "{name}: {of} compares a selector outside of a switch");
        }
    }
}
