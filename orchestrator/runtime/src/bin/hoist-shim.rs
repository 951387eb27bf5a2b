//! The shim's entry: one process per container start, one per exec. All of it is `hoist_runtime::shim`.

fn main() {
    std::process::exit(hoist_runtime::shim::main());
}
