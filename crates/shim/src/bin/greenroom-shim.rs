//! The shim alone, as the tests run it. The product's binary calls the same function.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(dir) => greenroom_shim::main(std::path::Path::new(&dir)),
        None => {
            eprintln!("usage: greenroom-shim DIR");
            ExitCode::from(2)
        }
    }
}
