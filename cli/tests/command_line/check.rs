//! `ztilde check`, run as a user or a script runs it. That a failed check is exit code 1 is a test of the report,
//! in `cli/src/check/report.rs`: every check passes here.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::{output, stderr, stdout, ztilde};

fn check(arguments: &[&str]) -> Output {
    output(&mut ztilde(".", &[&["check"], arguments].concat()))
}

#[test]
fn a_row_is_on_stdout_and_in_json_with_all_fields() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let output = check(&["grad_weights", "column_sums", "--json", file.to_str().expect("UTF-8")]);
    let lines: Vec<_> = stdout(&output).lines().collect();
    let [head, rows @ ..] = &lines[..] else { panic!("nothing on stdout: {output:?}") };
    assert!(head.starts_with("subject ") && head.ends_with("  result"), "{head}");
    let rows: Vec<_> = rows.iter().take_while(|line| !line.is_empty()).collect();
    assert!(rows.iter().all(|row| row.ends_with("  passed")), "{rows:#?}");
    for text in ["project's issue tracker", "  ztilde    ", "  adapter   ", "  driver    "] {
        assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in {lines:#?}");
    }

    let report: Value = serde_json::from_str(&fs::read_to_string(file).expect("a file")).unwrap();
    assert_eq!(
        (&report["passed"], &report["version"]),
        (&true.into(), &env!("CARGO_PKG_VERSION").into())
    );
    for field in ["name", "backend", "type", "driver"] {
        assert!(report["adapter"][field].is_string(), "no {field} in {report}");
    }
    for field in ["system", "seconds", "features", "subgroup_sizes"] {
        assert!(!report[field].is_null(), "no {field} in {report}");
    }
    let checks = report["checks"].as_array().expect("a list");
    assert_eq!(checks.len(), rows.len());
    for found in checks {
        assert_eq!((&found["passed"], &found["failures"]), (&true.into(), &Value::Array(vec![])));
        assert!(found["property"].is_string() && found["seconds"].is_number(), "{found}");
        assert!(found["values"].as_u64() > Some(0), "{found}");
        let share = found["error_of_bound"].as_f64().expect("a number");
        assert!((0.0..=1.0).contains(&share), "{found}");
        let worst = &found["worst"];
        let [error, bound] = ["error", "bound"].map(|name| worst[name].as_f64().expect(name));
        assert!(error <= bound && worst["what"].is_string(), "{worst}");
    }
    // In the order of the list, with a row for each tiling; one kernel has none.
    let subjects: Vec<_> = checks.iter().map(|found| found["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects.last(), Some(&"column_sums"), "{subjects:?}");
    assert!(subjects[..subjects.len() - 1].iter().all(|name| *name == "grad_weights"));
    assert!(checks[0]["tiling"].is_string() && checks.last().unwrap()["tiling"].is_null());
}

#[test]
fn json_on_stdout_is_alone_there() {
    let output = check(&["record_step", "--json", "-"]);
    let report: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(report["checks"].as_array().map(Vec::len), Some(2));
    assert!(stderr(&output).lines().any(|line| line.starts_with("record_step  ")), "{output:?}");
}

/// A device that is destroyed on purpose is a passed check.
#[test]
fn a_lost_device_is_checked() {
    let output = check(&["device"]);
    let text = stdout(&output);
    let row = text.lines().find(|line| line.starts_with("device  ")).expect(text);
    assert!(row.ends_with("passed"), "{row}");
}

#[test]
fn wrong_usage_is_code_2_and_no_adapter_code_3() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing").join("report.json");
    for arguments in [&["no_such_kernel"][..], &["--json", missing.to_str().expect("UTF-8")]] {
        let output = check(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let suggestion = check(&["layer_foward"]);
    assert!(stderr(&suggestion).contains("'layer_forward'"), "{suggestion:?}");
    let output = ztilde(".", &["check"])
        .env("WGPU_ADAPTER_NAME", "no such GPU")
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}
