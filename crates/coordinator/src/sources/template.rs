//! `${env:X}` and `${secret:X}` in the values of an agent's environment. They are checked
//! here and resolved by the runner, so a typing error is found before anything starts.

/// Checks the name of a variable.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if !is_variable(name) {
        return Err(
            "is not a name for a variable: use letters, digits and '_', and begin with no digit"
                .to_owned(),
        );
    }
    if name.starts_with("GREENROOM_") {
        return Err(
            "begins with GREENROOM_, which is kept for Greenroom's own variables".to_owned()
        );
    }
    Ok(())
}

/// Checks the references in a value.
pub(super) fn check_value(value: &str) -> Result<(), String> {
    if value.contains('\0') {
        return Err("contains a NUL character".to_owned());
    }
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let body = &rest[start + 2..];
        let Some(end) = body.find('}') else {
            return Err("has a \"${\" without its \"}\"".to_owned());
        };
        let reference = &body[..end];
        match reference.split_once(':') {
            Some(("env", name)) if is_variable(name) => {}
            Some(("secret", name)) if is_secret(name) => {}
            _ => {
                let shown: String = reference.chars().take(60).collect();
                return Err(format!(
                    "refers to ${{{shown}}}: only ${{env:NAME}} and ${{secret:NAME}} are known"
                ));
            }
        }
        rest = &body[end + 1..];
    }
    Ok(())
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_secret(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_checked() {
        for good in ["", "plain $HOME", "${env:A_1}", "a${secret:api-key}b${env:X}", "$"] {
            assert_eq!(check_value(good), Ok(()), "{good}");
        }
        for bad in [
            "${",
            "${}",
            "${env:}",
            "${env:1}",
            "${secret:../x}",
            "${secret:.x}",
            "${HOME}",
            "${env:A",
            "${file:x}",
        ] {
            assert!(check_value(bad).is_err(), "{bad}");
        }
        assert!(check_name("GREENROOM_TOKEN").is_err());
        assert!(check_name("1A").is_err());
        assert!(check_name("PATH").is_ok());
    }
}
