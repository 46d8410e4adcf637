# Each recipe is one or two plain cargo lines; none of them is needed to build or to test.

# Everything that needs neither root nor minutes.
check:
    cargo fmt --all --check && cargo clippy --workspace --all-targets --features root-tests -- -D warnings
    cargo nextest run --workspace && cargo test --workspace --doc
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps && cargo deny --config .deny.toml check

# The tests that need root; FILTER is part of a test's name.
root FILTER='':
    cargo test --features root-tests --lib -- root_tests
    cargo test --features root-tests --test root -- {{FILTER}}

# Rewrites golden files; read the difference before you commit it.
golden:
    UPDATE_GOLDEN=1 cargo test --workspace

# Every hop of a launch with every fault.
faults FILTER='containerizer::tests':
    cargo test --lib -- {{FILTER}}
