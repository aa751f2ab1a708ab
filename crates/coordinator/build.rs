//! The dashboard is built by its own tools and put into the binary as it is found.

fn main() {
    let dist = "../../dashboard/dist";
    // A folder that is not there cannot be watched, and would count as changed each time.
    if let Err(error) = std::fs::create_dir_all(dist) {
        println!("cargo:warning={dist}: {error}");
    }
    println!("cargo:rerun-if-changed={dist}");
    println!("cargo:rerun-if-changed=build.rs");
}
