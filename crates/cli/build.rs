//! Packs the binary's relative relocations where this machine's C library can read them (glibc 2.36
//! and later). Every shim reads them when it starts, so they count in each one's memory: 1.3 MB of 8.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let native = var("HOST") == var("TARGET") && var("TARGET").ends_with("linux-gnu");
    if native && glibc() >= Some((2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of the C library: `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
