use std::fs;

use proptest::prelude::*;

use super::*;

/// A home with these files of docker-agent.
fn home(files: &[(&str, &str)]) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join(".config/cagent");
    fs::create_dir_all(&folder).expect("a folder");
    for (name, text) in files {
        fs::write(folder.join(name), text).expect("written");
    }
    home
}

/// The source a word stands for in this home.
fn stands_for(word: &str, home: &tempfile::TempDir) -> String {
    look_up(word, Some(home.path())).expect("a source").0.source
}

fn refused(word: &str, home: Option<&Path>) -> (String, String) {
    match look_up(word, home) {
        Err(CliError::Told(told)) => (told.message, told.hint.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_alias_stands_for_its_path() {
    let config = "
version: v1
settings: {theme: dark, YOLO: true}
default_model: {provider: openai, model: x}
aliases:
  file: {path: /agents/pirate.yaml, yolo: true}
  mine: {path: ~/agents/mine.yaml}
  here: {path: agents/here.YML}
  dots: {path: ./agents}
  url: {path: 'https://u:p@ex.com/a.yaml?tag=v1'}
  org: {path: agentcatalog/pirate, model: openai/gpt-4o}
  hub: {path: 'docker.io/org/name:tag'}
  fixed: {path: 'ghcr.io/org/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}
  near: {path: 'localhost:5000/a'}
  one: {path: pirate}
  odd: {path: No Image At All}
  shell: {path: /agents/shell.yaml}
";
    let home = home(&[("config.yaml", config), ("aliases.yaml", "old: /agents/old.yaml\n")]);
    let here = std::env::current_dir().expect("a folder").display().to_string();
    let mine = home.path().join("agents/mine.yaml").display().to_string();
    let fixed = "oci://ghcr.io/org/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (name, source) in [
        ("file", "/agents/pirate.yaml"),
        ("mine", &mine),
        ("here", &format!("{here}/agents/here.YML")),
        ("dots", &format!("{here}/agents")),
        ("url", "https://u:p@ex.com/a.yaml?tag=v1"),
        ("org", "oci://agentcatalog/pirate"),
        ("hub", "oci://docker.io/org/name:tag"),
        ("fixed", fixed),
        ("near", "oci://localhost:5000/a"),
        ("one", "oci://pirate"),
        ("odd", &format!("{here}/No Image At All")),
    ] {
        assert_eq!(stands_for(name, &home), source);
        assert_eq!(stands_for(&format!("alias:{name}"), &home), source);
    }
    // What is something else by itself is no alias, unless it is said to be one.
    for word in ["shell", "./file", "file.yaml", "file.YML", "file:1", "https://ex.com/file", ""] {
        assert_eq!(stands_for(word, &home), word);
    }
    assert_eq!(stands_for("alias:shell", &home), "/agents/shell.yaml");
    // `src` is a folder here.
    assert_eq!(stands_for("src", &home), "src");
    // Those of before count only where there are no others.
    assert!(refused("alias:old", Some(home.path())).0.contains("\"old\""));
}

#[test]
fn aliases_of_before_count_where_there_are_no_others() {
    let before = ("aliases.yaml", "old: /agents/old.yaml\nhub: org/name\n");
    for config in [None, Some("version: v1\n"), Some(""), Some("# nothing\n"), Some("aliases:\n")] {
        let mut files = vec![before];
        files.extend(config.map(|config| ("config.yaml", config)));
        let home = home(&files);
        assert_eq!(stands_for("old", &home), "/agents/old.yaml", "{config:?}");
        assert_eq!(stands_for("hub", &home), "oci://org/name", "{config:?}");
        let (message, hint) = refused("alias:new", Some(home.path()));
        assert!(message.ends_with("cagent/aliases.yaml"), "{message}");
        assert_eq!(hint, "it has these: hub, old");
    }
}

#[test]
fn a_word_that_is_no_alias_says_which_there_are() {
    let some = home(&[("config.yaml", "aliases: {b: {path: x/y}, \"a\\e\": {path: x/y}}\n")]);
    let (meant, alias) = look_up("pirate", Some(some.path())).expect("itself");
    assert_eq!((meant.source.as_str(), alias), ("pirate", None));
    let hint = "docker-agent's configuration has aliases: a , b";
    assert_eq!(meant.hint.as_deref(), Some(hint));
    let (message, hint) = refused("alias:pirate", Some(some.path()));
    let file = some.path().join(".config/cagent/config.yaml");
    assert_eq!(message, format!("there is no alias \"pirate\" in {}", file.display()));
    assert_eq!(hint, "it has these: a , b");

    let none = tempfile::tempdir().expect("a folder");
    let itself = Meant { source: "pirate".to_owned(), hint: None };
    for home in [Some(none.path()), None] {
        assert_eq!(look_up("pirate", home).expect("itself").0, itself);
        refused("alias:pirate", home);
        refused("alias:", home);
    }
    assert!(refused("alias:pirate", Some(none.path())).1.contains("no such file"));
}

#[test]
fn a_broken_configuration_is_told_where_an_alias_is_needed() {
    let list = ("config.yaml", "version: v1\naliases:\n  a: [1]\n");
    let twice = ("config.yaml", "aliases:\n  a: {path: b/c}\n  a: {path: d/e}\n");
    let flag = ("config.yaml", "aliases:\n  a:\n    yolo: perhaps\n");
    let open = ("config.yaml", "version: v1\naliases: {a\n");
    for (file, line) in [(list, 3), (twice, 3), (flag, 3), (("aliases.yaml", "a: b\nc: [d]\n"), 2)]
    {
        let home = home(&[file]);
        let place = home.path().join(".config/cagent").join(file.0);
        for word in ["a", "alias:a", "z"] {
            let (message, _) = refused(word, Some(home.path()));
            let begins = format!("{}:{line}: ", place.display());
            assert!(message.starts_with(&begins), "{begins} {message}");
        }
        assert_eq!(stands_for("./a", &home), "./a");
    }
    let (message, _) = refused("a", Some(home(&[open]).path()));
    assert!(message.contains("config.yaml:"), "{message}");
    let folder = home(&[]);
    fs::create_dir(folder.path().join(".config/cagent/config.yaml")).expect("a folder");
    assert!(refused("a", Some(folder.path())).0.contains("config.yaml"));
    let long = home(&[("config.yaml", &"#".repeat((1 << 20) + 1))]);
    assert!(refused("a", Some(long.path())).0.contains("1 MiB"));
}

#[test]
fn an_alias_that_stands_for_nothing_of_ours_is_told() {
    let config = "aliases: {a: {path: coder}, b: {yolo: true}, c: null, d: {path: ''}}\n";
    let home = home(&[("config.yaml", config)]);
    assert!(refused("a", Some(home.path())).0.contains("\"coder\""));
    for name in ["b", "c", "d"] {
        let (message, _) = refused(name, Some(home.path()));
        assert!(message.contains("config.yaml: ") && message.ends_with("has no path"), "{message}");
    }
}

#[test]
fn what_an_alias_says_of_runs_is_not_dropped_in_silence() {
    let alias = |text: &str| parse(text, "x").expect("aliases").remove("a").expect("an alias");
    let options = |text: &str| alias(&format!("aliases: {{a: {{{text}}}}}")).options();
    assert_eq!(options("path: b/c, yolo: false, model: '', hide_tool_results: false"), None);
    assert_eq!(
        options("yolo: true, model: openai/gpt-4o, hide_tool_results: true").as_deref(),
        Some(
            "yolo (greenroom run --approvals-mode autonomous), \
             model openai/gpt-4o (greenroom run --model openai/gpt-4o), \
             hide_tool_results (greenroom run --quiet)"
        )
    );
    assert_eq!(
        options("model: helper=openai/gpt-4o").as_deref(),
        Some("model helper=openai/gpt-4o (models in PATCH /v1/sessions/ID)")
    );
}

fn any_alias() -> impl Strategy<Value = Alias> {
    let some = any::<(Option<String>, Option<bool>, Option<String>, Option<bool>)>();
    some.prop_map(|(path, yolo, model, hide_tool_results)| Alias {
        path,
        yolo,
        model,
        hide_tool_results,
    })
}

proptest! {
    /// Whatever a file holds, it is read or refused.
    #[test]
    fn no_text_is_too_odd(text in prop_oneof![
        any::<String>(),
        "(aliases: ?)?[a{}\\[\\]&*!|>'\"#,:?%@`~ \n\t-]{0,80}",
    ]) {
        for parse in [parse, parse_before] {
            if let Err(error) = parse(&text, "file") {
                prop_assert!(error.to_string().starts_with("file:"));
            }
        }
    }

    /// What was written is read.
    #[test]
    fn what_was_written_is_read(aliases in prop::collection::btree_map("[a-zA-Z0-9_-]{1,9}", any_alias(), 0..5)) {
        let written: serde_json::Map<_, _> = aliases.iter().map(|(name, alias)| {
            let Alias { path, yolo, model, hide_tool_results } = alias;
            let json = serde_json::json!({
                "path": path, "yolo": yolo, "model": model, "hide_tool_results": hide_tool_results,
            });
            (name.clone(), json)
        }).collect();
        // JSON is YAML, but for what YAML does not let stand for itself.
        let text = serde_json::json!({"version": "v1", "aliases": written}).to_string();
        let text: String = text.chars().map(|c| match c {
            c if c.is_ascii() => c.to_string(),
            c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        }).collect();
        prop_assert_eq!(parse(&text, "file"), Ok(aliases));
    }

    /// A path becomes a source that is whole: an address, an image, or a path from the root.
    #[test]
    fn a_path_becomes_a_source(path in prop_oneof![any::<String>(), "[a-zA-Z.:/@~]{1,12}"]) {
        if let Ok(source) = source(&path, Path::new("/home/ann")) {
            let whole = is_url(source.as_bytes()) || source.starts_with('/');
            prop_assert!(whole || Reference::parse(&source).is_ok(), "{}", source);
        }
    }
}
