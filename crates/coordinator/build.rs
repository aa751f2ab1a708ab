//! The dashboard is built by its own tools and put into the binary as it is found.

fn main() {
    // A folder that is not there yet counts as changed once it is.
    println!("cargo:rerun-if-changed=../../dashboard/dist");
    println!("cargo:rerun-if-changed=build.rs");
}
