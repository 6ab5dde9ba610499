//! What the documentation says of the project itself is so.

use std::path::Path;

/// Whether a test of that name is in one of the files.
fn has_test(files: &[String], name: &str) -> bool {
    let test = format!("fn {name}()");
    let is_test = |text: String| {
        text.split_once(&test).is_some_and(|(before, _)| {
            let mut attributes = before.lines().rev().map(str::trim);
            attributes
                .by_ref()
                .skip_while(|line| line.is_empty())
                .take_while(|line| line.starts_with("#["))
                .any(|line| line == "#[test]")
        })
    };
    files.iter().any(|file| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        std::fs::read_to_string(path).is_ok_and(is_test)
    })
}

#[test]
fn each_rule_has_a_test_of_the_name_that_the_table_gives() {
    let table = include_str!("../docs/design/conformance.md");
    let mut rules = 0;
    let mut missing = Vec::new();
    for named in table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.contains("::"))
    {
        let (file, name) = named.rsplit_once("::").unwrap();
        if name == "name" {
            continue; // the explanation
        }
        let files = match file.strip_prefix("src/") {
            Some(_) => vec![file.to_owned(), file.replace(".rs", "/tests.rs")],
            None => vec![format!("tests/{file}.rs")],
        };
        rules += 1;
        if !has_test(&files, name) {
            missing.push(named);
        }
    }
    assert!(
        rules > 100 && missing.is_empty(),
        "of {rules}: {missing:#?}"
    );
}
