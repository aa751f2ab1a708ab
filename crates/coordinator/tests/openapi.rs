//! The description of the API is checked in, so that a change of it is seen.

use greenroom_coordinator::api::spec::document;

#[test]
fn the_description_is_the_one_that_is_checked_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let now = format!("{:#}\n", document());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &now).expect("written");
        return;
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == now,
        "docs/openapi.json is not what the code says: run this test with UPDATE=1"
    );
}

#[test]
fn operations_have_names_of_their_own() {
    let document = document();
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name.to_owned()), "{method} {path}: {name} is there twice");
            assert!(!path.contains('*'), "{path}");
        }
    }
}
