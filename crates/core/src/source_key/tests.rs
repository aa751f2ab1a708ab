use proptest::prelude::*;

use super::*;

fn stable_of(key: &str) -> String {
    String::from_utf8(stable(key.as_bytes())).expect("text")
}

/// The stable identity of the source that a URL names.
fn of_reference(url: &str) -> String {
    stable_of(&of_url(url.as_bytes()))
}

#[test]
fn keys_are_escaped_urls() {
    let key = of_url("https://u:p@ex.com/a b.yaml?tag=v1&x=é+#f~".as_bytes());
    let escaped = "https%3A%2F%2Fu%3Ap%40ex.com%2Fa+b.yaml%3Ftag%3Dv1%26x%3D%C3%A9%2B%23f~";
    assert_eq!(key, escaped);
    assert_eq!(of_url(b"http://\xff-_.!"), "http%3A%2F%2F%FF-_.%21");
}

#[test]
fn query_and_fragment_are_no_part_of_the_identity() {
    let cases = [
        ("https://ex.com/a.yaml", "https://ex.com/a.yaml"),
        ("https://ex.com/a.yaml?tag=v1", "https://ex.com/a.yaml"),
        ("https://ex.com/a.yaml?tag=v2#frag", "https://ex.com/a.yaml"),
        ("https://ex.com/a.yaml#f?x=1", "https://ex.com/a.yaml"),
        ("https://ex.com/a.yaml??", "https://ex.com/a.yaml"),
        ("https://ex.com/a.yaml/", "https://ex.com/a.yaml/"),
        ("https://ex.com:443/a.yaml?x", "https://ex.com:443/a.yaml"),
        ("https://ex.com:/a.yaml?x", "https://ex.com:/a.yaml"),
        ("https://EX.com/a.yaml?x", "https://EX.com/a.yaml"),
        ("http://ex.com/a.yaml", "http://ex.com/a.yaml"),
        ("https://u:p@ex.com/a.yaml?x", "https://u:p@ex.com/a.yaml"),
        ("https://ex.com/a%2Fb.yaml?x", "https://ex.com/a%2Fb.yaml"),
        ("https://ex.com/%7Eu/?x", "https://ex.com/%7Eu/"),
        ("https://ex.com/~u/?x", "https://ex.com/~u/"),
        ("https://ex.com/a/../b.yaml", "https://ex.com/a/../b.yaml"),
        ("https://ex.com//a.yaml", "https://ex.com//a.yaml"),
        ("https://ex.com/a.yaml;v=1", "https://ex.com/a.yaml;v=1"),
    ];
    for (url, identity) in cases {
        assert_eq!(of_reference(url), identity, "{url}");
    }
}

#[test]
fn a_url_is_printed_as_go_prints_it() {
    let cases = [
        // A lone question mark stays.
        ("http://ex.com/a?", "http://ex.com/a?"),
        ("http://u:p@h/?", "http://u:p@h/?"),
        ("http://?", "http:?"),
        ("http://h?#f", "http://h?"),
        // Without a host.
        ("http://", "http:"),
        ("https://", "https:"),
        ("http:///x", "http:///x"),
        ("http://?q", "http:"),
        ("http://@/", "http://@/"),
        ("http://@", "http://@"),
        ("http://:@h", "http://:@h"),
        ("http://:80", "http://:80"),
        // What Go escapes is escaped, in each part by its own rule.
        ("https://exé.com/a?x", "https://ex%C3%A9.com/a"),
        ("https://ex%c3%a9.com/a?x", "https://ex%C3%A9.com/a"),
        ("http://h/a b|c", "http://h/a%20b%7Cc"),
        ("http://h/[a]!'()*", "http://h/[a]!'()*"),
        ("http://h/%41", "http://h/%41"),
        ("http://h/%41 b", "http://h/A%20b"),
        ("http://h/é%2F", "http://h/%C3%A9/"),
        ("http://h/a+b", "http://h/a+b"),
        ("http://u%40:p%3a@h/", "http://u%40:p%3A@h/"),
        ("http://a@b@h/", "http://a%40b@h/"),
        ("http://u:p:q@h/", "http://u:p%3Aq@h/"),
        ("http://[::1%25eth0]/", "http://[::1%25eth0]/"),
        ("http://[::1%25%65%20x]/", "http://[::1%25e%20x]/"),
        ("http://[::ffff:1.2.3.4]:80/?x", "http://[::ffff:1.2.3.4]:80/"),
        ("http://h<>\"/", "http://h<>\"/"),
    ];
    for (url, identity) in cases {
        assert_eq!(of_reference(url), identity, "{url}");
    }
}

#[test]
fn what_go_refuses_comes_back_unchanged() {
    let refused = [
        "https://[::1/a.yaml?x",
        "https://ex.com:port/a.yaml?x",
        "https://ex.com/%zz?x",
        "https://ex.com/a.yaml?x=\n",
        "https://ex.com/a?x=\u{7f}",
        "http://h/a#%zz",
        "http://h h/",
        "http://h%41/",
        "http://u é@h/",
        "http://u%zz@h/",
        "http://[::1]x/",
        "http://[::1]:x/",
        "http://[1.2.3.4]/",
        "http://[v1.x]/",
        "http://[::1%25]/",
        "http://[::1%25%2f]/",
        "http://[::1%25 x]/",
        "http://x[::1]/",
        "http://::1/",
        "http://a:1:2/",
        "http://h\\x/",
        "http://h/%",
    ];
    for url in refused {
        let key = of_url(url.as_bytes());
        assert_eq!(stable_of(&key), key, "{url}");
    }
    // A fragment may hold what the rest may not.
    assert_eq!(of_reference("http://h/a#\n"), "http://h/a");
    // Parameters are not looked into.
    assert_eq!(of_reference("http://h/a?x=%zz"), "http://h/a");
}

#[test]
fn keys_that_clients_send() {
    // Not escaped, as older clients and decoded paths have it.
    assert_eq!(stable_of("https://ex.com/a.yaml?tag=v1"), "https://ex.com/a.yaml");
    assert_eq!(stable_of("https://ex.com/a+b%20c%252"), "https://ex.com/a+b%20c%252");
    // Escaped twice.
    let twice = of_url(of_url(b"https://ex.com/a.yaml?x").as_bytes());
    assert_eq!(stable_of(&twice), twice);
    let same = [
        "",
        "HTTPS://ex.com/a?x",
        "HTTP://",
        "http:/ex.com/a?x",
        " http://ex.com/a?x",
        "what?",
        "100%25",
        "%zz",
        "%",
        "+",
        "#",
        "docker.io_org_agent_v1.yaml",
        "ftp://ex.com/a?x",
    ];
    for key in same {
        assert_eq!(stable_of(key), key);
    }
    assert_eq!(stable_of("http%3A%2F%2Fex.com%2Fa"), "http://ex.com/a");
    assert_eq!(stable(b"\xff%zz"), b"\xff%zz");
}

#[test]
fn a_query_can_be_part_of_the_identity() {
    let identity =
        |url: &[u8]| String::from_utf8(stable_with_query(of_url(url).as_bytes())).expect("text");
    assert_eq!(identity(b"https://ex.com/a?t=1#f"), "https://ex.com/a?t=1");
    assert_eq!(identity(b"https://ex.com/a#f"), "https://ex.com/a");
}

#[test]
fn keys_of_files_and_images() {
    for (path, key) in [
        ("/etc/agents/fixer.yaml", "fixer"),
        ("fixer.v2.yml", "fixer.v2"),
        ("fixer", "fixer"),
        ("agents/fixer/", "fixer"),
        (".yaml", ""),
        ("", ""),
        ("/", ""),
    ] {
        assert_eq!(of_file(path.as_bytes()), key.as_bytes(), "{path}");
    }
    assert_eq!(of_oci("docker.io/org/a:v1"), "docker.io_org_a_v1.yaml");
    assert_eq!(of_oci("h:5000/a@sha256:0f"), "h_5000_a_sha256_0f.yaml");
    assert_eq!(of_oci("org/a.yaml"), "org_a.yaml");
}

#[test]
fn user_names_and_passwords_are_hidden() {
    for (url, shown) in [
        ("https://u:p@ex.com/a?x", "https://***@ex.com/a?x"),
        ("https://u@p@ex.com/a", "https://***@ex.com/a"),
        ("https://ex.com/a@b", "https://ex.com/a@b"),
        ("https://ex.com?x=a@b", "https://ex.com?x=a@b"),
        // It does not parse: the password has a slash.
        ("https://u:p/w@ex.com/a", "https://***@ex.com/a"),
        ("HTTPS://u:p@ex.com/a", "HTTPS://***@ex.com/a"),
        ("url:https://u:p@ex.com/a@b", "url:https://***@ex.com/a@b"),
        ("/etc/a@b", "/etc/a@b"),
    ] {
        assert_eq!(redacted(url), shown);
    }
}

proptest! {
    #[test]
    fn nothing_panics(bytes: Vec<u8>, url in "https?://\\PC*") {
        for text in [&bytes[..], url.as_bytes(), &[b"http://", &bytes[..]].concat()] {
            let key = of_url(text);
            stable(text);
            stable(key.as_bytes());
            stable_with_query(key.as_bytes());
            redacted(&String::from_utf8_lossy(text));
        }
    }

    /// What was printed once is an identity, and its own.
    #[test]
    fn an_identity_is_its_own(
        url in "https?://([a-z:@%0-9]{0,6})(ex|EX|é|\\[::1\\]|)(:8?)?(/[a-zé%2F+ ;~]{0,8})?",
    ) {
        let once = of_reference(&url);
        if is_url(once.as_bytes()) {
            prop_assert_eq!(of_reference(&once), once);
        }
    }

    #[test]
    fn variants_share_an_identity(path in "[a-z/.~;@]{0,12}", query in "[a-z=&%?]{1,8}") {
        let base = format!("https://ex.com/{path}");
        prop_assume!(!query.starts_with('?'));
        prop_assert_eq!(of_reference(&format!("{base}?{query}=")), of_reference(&base));
        prop_assert_eq!(of_reference(&format!("{base}#f")), of_reference(&base));
    }

    /// A password never shows, whatever surrounds it.
    #[test]
    fn passwords_never_show(before in "[a-z/:?#%]{0,6}", after in "[a-z/?#]{0,6}") {
        let url = format!("https://{before}s3cret@h{after}");
        let parses = matches!(Url::parse(url.as_bytes()), Some(Ok(_)));
        // Behind a slash it is no password, as long as the URL parses.
        let harmless = parses && before.contains(['/', '?', '#']);
        prop_assert!(harmless || !redacted(&url).contains("s3cret"));
    }
}
