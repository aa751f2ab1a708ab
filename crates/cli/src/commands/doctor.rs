//! `greenroom doctor`.

mod checks;

use serde::Serialize;

use crate::context::Context;
use crate::error::{CliError, Code};
use crate::ui::{Output, Paint, Tone};

/// Say what works here, what does not, and what to do about it
///
/// Looks at the data folder, the token, the coordinator, its runners, and by what means
/// agents can be stopped and limited on this machine. Finds out by doing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom doctor
  greenroom doctor --data ./data --output json

Exit codes: 0 nothing is broken, 1 something is.")]
pub(crate) struct Args {}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// As it should be.
    Ok,
    /// Works, with less than there could be.
    Weak,
    /// Broken.
    Broken,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn weak(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { check, verdict: Verdict::Weak, found: found.into(), advice }
    }

    fn broken(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { check, verdict: Verdict::Broken, found: found.into(), advice }
    }

    fn text(&self, paint: Paint) -> String {
        let mark = match self.verdict {
            Verdict::Ok => paint.tint(Tone::Live, "ok    "),
            Verdict::Weak => paint.tint(Tone::Warn, "weak  "),
            Verdict::Broken => paint.tint(Tone::Bad, "broken"),
        };
        let mut text =
            format!("{mark}  {:<12}  {}\n", self.check, crate::human::clean(&self.found));
        if let Some(advice) = &self.advice {
            text.push_str(&format!("{:24}{}\n", "", paint.tint(Tone::Dim, advice)));
        }
        text
    }
}

pub(crate) async fn run(context: &Context, _args: Args) -> Result<Code, CliError> {
    let ui = &context.ui;
    let mut findings = vec![Finding::ok(
        "version",
        format!(
            "greenroom {} on {} {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
    )];
    findings.extend(checks::folder(context));
    findings.extend(checks::coordinator(context).await);
    findings.extend(checks::machine().await);
    findings.extend(checks::agents(context).await);
    findings.push(checks::coding());
    match ui.output {
        Output::Table => {
            let text: String = findings.iter().map(|finding| finding.text(ui.paint)).collect();
            ui.data(text)?;
        }
        Output::Json => ui.line(serde_json::json!({ "items": findings }).to_string())?,
        Output::Jsonl => {
            findings
                .iter()
                .try_for_each(|finding| ui.line(serde_json::json!(finding).to_string()))?;
        }
    }
    let broken = findings.iter().any(|finding| finding.verdict == Verdict::Broken);
    Ok(if broken { Code::Failed } else { Code::Done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_beneath_what_was_found() {
        let text = Finding::weak("token", "readable by others", "chmod 600 it").text(Paint::OFF);
        assert_eq!(
            text,
            "weak    token         readable by others\n                        chmod 600 it\n"
        );
    }
}
