//! The shim's entry: one process per container start, one per exec. All of it is `hoist_runtime::shim`.

#[expect(clippy::exit, reason = "main: the exit code is all that is left to say")]
fn main() {
    std::process::exit(hoist_runtime::shim::main());
}
