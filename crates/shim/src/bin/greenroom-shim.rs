//! The shim alone, as the tests run it. The product's binary calls the same function. As a
//! driver it is the program that the test names.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == "drive" => drive(),
        Some(dir) => greenroom_shim::main(std::path::Path::new(&dir)),
        None => {
            eprintln!("usage: greenroom-shim DIR");
            ExitCode::from(2)
        }
    }
}

fn drive() -> ExitCode {
    let program = std::env::var_os("TEST_DRIVER").unwrap_or_default();
    let error = Command::new(&program).args(std::env::args_os().skip(2)).exec();
    eprintln!("{}: {error}", program.display());
    ExitCode::FAILURE
}
