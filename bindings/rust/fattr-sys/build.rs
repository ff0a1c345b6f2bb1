// SPDX-License-Identifier: Apache-2.0
//! Finds libfattr through pkg-config and lets bindgen read its headers. On docs.rs there is no library: the headers that the crate ships are read.
use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=DOCS_RS");
    let shipped = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("headers");
    let includes = if env::var_os("DOCS_RS").is_some() {
        vec![shipped]
    } else {
        let found = pkg_config::Config::new().atleast_version("0.1.0").statik(env::var_os("CARGO_FEATURE_STATIC").is_some()).probe("fattr");
        found.unwrap_or_else(|e| panic!("libfattr is to be found by pkg-config (PKG_CONFIG_PATH names further folders): {e}")).include_paths
    };
    let flags = includes.iter().map(|path| format!("-I{}", path.display()));
    let bindings = bindgen::Builder::default()
        .header_contents("fattr.h", "#include <fattr/fattr.h>\n")
        .clang_args(flags)
        .allowlist_function("fa_.*")
        .allowlist_type("fa_.*")
        .allowlist_var("FA_.*")
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .generate()
        .expect("bindgen reads fattr.h");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("bindings.rs");
    bindings.write_to_file(out).expect("the bindings are written");
}
