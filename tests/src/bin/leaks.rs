//! `make leaks`: what real agents leave running, alone and under Greenroom. Writes
//! `bench/leaks/DATE.md` and `.json`; fails where Greenroom leaves anything.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use greenroom_tests::coding::Coding;
use greenroom_tests::leaks::{self, Left};
use greenroom_tests::{Value, json};

fn names(left: &Left) -> String {
    let name = |line: &str| {
        let first = line.split(' ').next().unwrap_or(line);
        let short = first.rsplit('/').next().unwrap_or(first).to_owned();
        if short.is_empty() { "?".to_owned() } else { short }
    };
    let mut names: Vec<_> = left.after.iter().map(|proc| name(&proc.line)).collect();
    names.sort();
    names.join(", ")
}

fn cell(left: &Left) -> String {
    match left.after.len() {
        0 => format!("0 of {}", left.before),
        count => format!("**{count}** of {} ({})", left.before, names(left)),
    }
}

fn data(left: &Left) -> Value {
    json!({
        "before": left.before,
        "left": left.after.len(),
        "names": names(left),
        "ms": left.took.as_millis() as u64,
    })
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (Some(date), Some(folder)) = (words.next(), words.next()) else {
        eprintln!("usage: leaks DATE FOLDER [AGENT…]");
        return ExitCode::from(2);
    };
    let only: Vec<String> = words.collect();
    let mut table = format!(
        "# What agents leave running, {date}\n\n\
         Each was in the middle of a shell call (`sleep 300`) of its own tool, with a scripted \
         model. \"n of m\": n of its m processes were still there 5 s later. Alone means \
         without Greenroom, its leader in a process group of its own.\n\n\
         | agent | alone: SIGTERM to the leader | alone: SIGTERM, then SIGKILL to the group | \
         `sessions stop` | until its receipt |\n|---|---|---|---|---|\n"
    );
    let (mut all, mut clean) = (Vec::new(), true);
    for agent in Coding::ALL {
        if !only.is_empty() && !only.iter().any(|word| word == agent.word()) {
            continue;
        }
        eprintln!("{}", agent.word());
        let (term, group) = (leaks::after_term(agent), leaks::after_group_kill(agent));
        let (stop, receipt) = leaks::after_stop(agent);
        clean &= stop.after.is_empty() && receipt["survivors"] == 0;
        let ms = stop.took.as_millis();
        let (term_cell, group_cell, stop_cell) = (cell(&term), cell(&group), cell(&stop));
        let word = agent.word();
        let row = format!("| {word} | {term_cell} | {group_cell} | {stop_cell} | {ms} ms |\n");
        eprint!("{row}");
        let _ = table.write_str(&row);
        all.push(json!({
            "agent": word, "term": data(&term), "group": data(&group), "stop": data(&stop),
            "survivors": receipt["survivors"], "processes_seen": receipt["processes_seen"],
            "steps": receipt["steps"],
        }));
    }
    let folder = PathBuf::from(folder);
    let text = serde_json::to_string_pretty(&json!({ "date": date, "agents": all }));
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join(format!("{date}.md")), &table))
        .and_then(|()| {
            let text = text.map_err(std::io::Error::other)?;
            std::fs::write(folder.join(format!("{date}.json")), text + "\n")
        });
    match written {
        Err(error) => {
            eprintln!("error: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
        Ok(()) if clean => ExitCode::SUCCESS,
        Ok(()) => {
            eprintln!("error: a stopped session has left processes");
            ExitCode::FAILURE
        }
    }
}
