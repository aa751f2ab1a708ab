//! Measures Greenroom's figures, each beside its floor, on the machine it runs on.
#![forbid(unsafe_code)]

mod figure;
mod floor;
mod http;
mod machine;
mod report;
mod seed;
mod server;
mod stats;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::figure::{Lab, append, idle, many, start, stop, viewers};
use crate::machine::Machine;
use crate::report::Report;

/// Measure Greenroom's figures, each beside its floor.
#[derive(Parser)]
struct Arguments {
    /// The binary to measure.
    #[arg(long, default_value = "target/release/greenroom")]
    greenroom: PathBuf,
    /// Only these figures.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<Figure>,
    /// A tenth of the counts: whether it works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Where data folders are made. It should be on the disk that is meant.
    #[arg(long, default_value = "/var/tmp")]
    data: PathBuf,
    /// The result; a quick or partial run writes none unless it is named.
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Figure {
    Start,
    Stop,
    Daemons,
    Append,
    Viewers,
    Many,
    Idle,
}

impl Figure {
    const ALL: [Self; 7] = [
        Self::Idle,
        Self::Start,
        Self::Stop,
        Self::Daemons,
        Self::Append,
        Self::Viewers,
        Self::Many,
    ];
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Missed aims are no failure: the table says so, and the README why.
async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let lab =
        Lab::open(&arguments.greenroom, server::agent_program()?, &arguments.data, arguments.quick)
            .with_context(|| format!("failed to set up; is {:?} built?", arguments.greenroom))?;
    let machine = Machine::here(&lab.greenroom, &arguments.data);
    let whole = arguments.only.is_empty();
    let mut report = Report { machine, rows: Vec::new() };
    for figure in Figure::ALL {
        if !whole && !arguments.only.contains(&figure) {
            continue;
        }
        let rows = match figure {
            Figure::Start => start::measure(&lab).await,
            Figure::Stop => stop::polite(&lab).await,
            Figure::Daemons => stop::stubborn(&lab).await,
            Figure::Append => append::measure(&lab).await,
            Figure::Viewers => viewers::measure(&lab).await,
            Figure::Many => many::measure(&lab).await,
            Figure::Idle => idle::measure(&lab).await,
        }?;
        for row in &rows {
            eprintln!("measured: {} ({} times)", row.figure, row.numbers.n);
        }
        report.rows.extend(rows);
    }
    println!("{}", report.table());
    let latest = (whole && !arguments.quick).then(|| PathBuf::from("bench/results/latest.json"));
    if let Some(path) = arguments.result.or(latest) {
        report.write(&path)?;
        println!("written: {}", path.display());
    }
    Ok(())
}
