//! Device rules: a line for v1, a BPF program for v2.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// `c 1:3 rwm`, the form that v1's files take.
pub(super) fn v1_line(rule: &LinuxDeviceCgroup) -> String {
    let kind = rule.typ().unwrap_or_default();
    if kind == LinuxDeviceType::A && rule.major().is_none() && rule.minor().is_none() {
        return "a".to_owned();
    }
    let number = |n: Option<i64>| {
        n.filter(|n| *n >= 0)
            .map_or_else(|| "*".to_owned(), |n| n.to_string())
    };
    let access = rule
        .access()
        .as_deref()
        .filter(|access| !access.is_empty())
        .unwrap_or("rwm");
    format!(
        "{} {}:{} {access}",
        kind.as_str(),
        number(rule.major()),
        number(rule.minor())
    )
}

/// One `struct bpf_insn`, packed as the kernel reads it on a little-endian machine.
const fn insn(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> u64 {
    let [o0, o1] = offset.to_le_bytes();
    let [i0, i1, i2, i3] = immediate.to_le_bytes();
    u64::from_ne_bytes([code, dst | src << 4, o0, o1, i0, i1, i2, i3])
}

// Opcodes: load word from context, 32-bit mov/and/shift by register or constant, jump if not equal, exit.
const LDX_W: u8 = 0x61;
const MOV32_IMM: u8 = 0xb4;
const MOV32_REG: u8 = 0xbc;
const AND32_IMM: u8 = 0x54;
const RSH32_IMM: u8 = 0x74;
const JNE_IMM: u8 = 0x55;
const JNE_REG: u8 = 0x5d;
const JEQ_IMM: u8 = 0x15;
const EXIT: u8 = 0x95;

// Registers: r1 context and scratch, r2 type, r3 access, r4 major, r5 minor, r0 the verdict.
const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;
const ACCESS_ALL: i32 = 7;

/// The last matching rule decides, so the program asks them from the last to the first; no match is a refusal.
pub(super) fn v2_program(rules: &[LinuxDeviceCgroup]) -> Result<Vec<u64>, String> {
    let mut program = vec![
        insn(LDX_W, 2, 1, 0, 0),
        insn(AND32_IMM, 2, 0, 0, 0xffff),
        insn(LDX_W, 3, 1, 0, 0),
        insn(RSH32_IMM, 3, 0, 0, 16),
        insn(LDX_W, 4, 1, 4, 0),
        insn(LDX_W, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let block = rule_block(rule)?;
        let unconditional = block.len() == 2;
        program.extend(block);
        if unconditional {
            // Nothing before it can be reached; the verifier refuses dead code after the last exit.
            return Ok(program);
        }
    }
    program.extend([insn(MOV32_IMM, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
    Ok(program)
}

/// Tests that jump behind the block when they fail, then the verdict.
fn rule_block(rule: &LinuxDeviceCgroup) -> Result<Vec<u64>, String> {
    // (opcode, dst, src, immediate); the jumps' offsets are known only at the end.
    let mut tests: Vec<(u8, u8, u8, i32)> = Vec::new();
    match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => {}
        LinuxDeviceType::B => tests.push((JNE_IMM, 2, 0, TYPE_BLOCK)),
        LinuxDeviceType::C | LinuxDeviceType::U => tests.push((JNE_IMM, 2, 0, TYPE_CHAR)),
        LinuxDeviceType::P => return Err("a fifo has no device rule".to_owned()),
    }
    let access = access_bits(rule.access().as_deref().unwrap_or("rwm"))?;
    if access != ACCESS_ALL {
        tests.push((MOV32_REG, 1, 3, 0));
        tests.push((AND32_IMM, 1, 0, access));
        // Allowed: all that is asked for. Refused: any of it.
        tests.push(if rule.allow() {
            (JNE_REG, 1, 3, 0)
        } else {
            (JEQ_IMM, 1, 0, 0)
        });
    }
    for (register, number) in [(4, rule.major()), (5, rule.minor())] {
        if let Some(number) = number.filter(|number| *number >= 0) {
            let number = i32::try_from(number)
                .map_err(|_| format!("device number {number} is too large"))?;
            tests.push((JNE_IMM, register, 0, number));
        }
    }
    let total = tests.len() + 2;
    let mut block = Vec::with_capacity(total);
    for (index, (code, dst, src, immediate)) in tests.into_iter().enumerate() {
        let jump = if matches!(code, JNE_IMM | JNE_REG | JEQ_IMM) {
            total - index - 1
        } else {
            0
        };
        block.push(insn(
            code,
            dst,
            src,
            i16::try_from(jump).expect("a block has at most 9 instructions"),
            immediate,
        ));
    }
    block.extend([
        insn(MOV32_IMM, 0, 0, 0, i32::from(rule.allow())),
        insn(EXIT, 0, 0, 0, 0),
    ]);
    Ok(block)
}

fn access_bits(access: &str) -> Result<i32, String> {
    access.chars().try_fold(0, |bits, c| match c {
        'm' => Ok(bits | 1),
        'r' => Ok(bits | 2),
        'w' => Ok(bits | 4),
        other => Err(format!("{other:?} is not a device access")),
    })
}
