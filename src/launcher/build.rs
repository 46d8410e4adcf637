//! Build script: compiles the programs of `src/launcher/init/` with the compiler that builds the
//! library, so that nothing but `rustc` and the C linker has to be there. See `init/main.rs`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let source = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("src/launcher/init");
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed=src/launcher/build.rs");
    compile(&source.join("main.rs"), &out.join("init"), "longshore_init");
    compile(&source.join("demo.rs"), &out.join("payload"), "longshore_payload");
}

/// Compiles a program without a library: no start files, no libc, static, at a fixed address.
fn compile(source: &Path, to: &Path, name: &str) {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let mut command = Command::new(rustc);
    command
        .arg(source)
        .args(["--edition", "2024", "--crate-type", "bin", "--crate-name", name])
        .args(["--target", &target, "-Dwarnings", "-Cpanic=abort", "-Copt-level=s"])
        .args(["-Cstrip=symbols", "-Ccodegen-units=1", "-Crelocation-model=static"])
        .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static"])
        .args(["-Clink-arg=-Wl,--build-id=none", "-Clink-arg=-Wl,-z,noexecstack"])
        .arg("-o")
        .arg(to);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        command.arg("-C").arg(format!("linker={}", linker.to_string_lossy()));
    }
    // Flags of the workspace (sanitizers, coverage) are for programs that have a library.
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("RUSTFLAGS");
    let status = command.status().unwrap_or_else(|error| panic!("failed to run rustc: {error}"));
    assert!(status.success(), "failed to compile {}", source.display());
}
