//! Containers on the real kernel: what a program in one sees and may do.

mod support;

#[test]
fn program_runs_and_its_output_is_logged() {
    let world = world!();
    let (code, out) = world.sh("echo hello; echo $$; hostname; id; cat /proc/self/mountinfo; ip link; exit 3");
    println!("{out}");
    assert_eq!(code, 3);
    assert!(out.starts_with("hello\n1\n"), "{out}");
}
