#!/bin/sh
# Makes a Rust that compiles for all systems of a release, where rustup cannot get their standard libraries:
# from the packages of Debian 12, and for musl from their source.
# Usage: rust.sh DIRECTORY; then: make dist RUSTC=DIRECTORY/rustc
set -eu
place=$(mkdir -p "$1" && cd "$1" && pwd)
apt=$place/apt
rm -rf "$place/usr" "$apt"
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/debs"
touch "$apt/status"
cat >"$apt/conf" <<END
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "root";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
Dir::Cache::Archives "$apt/archives";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$apt/sources";
END
mkdir "$apt/sources"
cp /etc/apt/sources.list.d/debian.sources "$apt/sources"
export APT_CONFIG="$apt/conf"
apt-get update -qq
library=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: //p' | head -1)
llvm=$(apt-cache depends "$library" | sed -n 's/.*Depends: \(libllvm\)/\1/p' | head -1)
(cd "$apt/debs" && apt-get download -qq rustc-web rust-web-src "$library" "$llvm" \
    libstd-rust-web-dev:amd64 libstd-rust-web-dev:arm64)
for deb in "$apt"/debs/*.deb; do
    dpkg --extract "$deb" "$place"
done
cat >"$place/rustc" <<END
#!/bin/sh
LD_LIBRARY_PATH=$place/usr/lib/x86_64-linux-gnu exec $place/usr/bin/rustc "\$@"
END
chmod +x "$place/rustc"
mkdir -p "$place/std/src"
: >"$place/std/src/lib.rs"
printf '[package]\nname = "nothing"\nversion = "0.0.0"\n[workspace]\n' >"$place/std/Cargo.toml"
# With bitcode, as the program is linked with LTO
for machine in x86_64 aarch64; do
    target=$machine-unknown-linux-musl
    RUSTC_BOOTSTRAP=1 RUSTC="$place/rustc" \
        RUSTFLAGS="-Cembed-bitcode=yes --remap-path-prefix=$place/usr=/usr --remap-path-prefix=$HOME=/build" cargo build --quiet --release --target "$target" \
        --manifest-path "$place/std/Cargo.toml" --target-dir "$place/std/target" \
        -Z build-std=std,panic_abort
    mkdir -p "$place/usr/lib/rustlib/$target/lib"
    cp "$place/std/target/$target/release/deps/"*.rlib "$place/usr/lib/rustlib/$target/lib"
done
