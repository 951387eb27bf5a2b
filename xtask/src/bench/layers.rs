//! Owns the image that pulls are measured with: 8 gzip layers of 599 MiB, 20,000 files of 1.4 GB, the same bytes on
//! every machine, in the storage folder of a registry that is kept in the cache.
//!
//! The content is made the way deflate takes it apart: literals of a skewed alphabet, and copies of what came shortly
//! before. Its ratio and its mix of short and long matches are those of a distribution's files.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::image::{self, Layer};
use crate::registry::Registry;
use crate::shell::{cache, say};

/// Raise when the generator changes: the name of the cached storage carries it.
const RECIPE: u32 = 1;
pub(super) const REPOSITORY: &str = "bench/pull";
/// Files of each layer; the mean size is 70 kB.
const FILES: [u64; 8] = [6000, 4000, 3000, 2400, 1800, 1400, 900, 500];

/// The registry's storage folder, with the tags `1` and `2` of [`REPOSITORY`]: they differ in the last layer.
pub(super) fn storage() -> Result<PathBuf> {
    let dir = cache()?.join(format!("pull-image-{RECIPE}"));
    if dir.exists() {
        return Ok(dir);
    }
    say("making the image to pull (once)");
    let fresh = cache()?.join(format!("pull-image-{RECIPE}.new-{}", std::process::id()));
    let work = fresh.join("work");
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let registry = Registry::start(&fresh, None)?;
    let mut layers = Vec::new();
    for (number, files) in FILES.into_iter().enumerate() {
        layers.push(layer(&work, number as u64, files)?);
    }
    image::push(&registry, &work, REPOSITORY, "1", &layers)?;
    layers.pop();
    layers.push(layer(&work, 100, FILES[FILES.len() - 1])?);
    image::push(&registry, &work, REPOSITORY, "2", &layers)?;
    drop(registry);
    fs::remove_dir_all(&work)?;
    fs::rename(&fresh, &dir)
        .with_context(|| format!("rename {} to {}", fresh.display(), dir.display()))?;
    Ok(dir)
}

/// A layer of the numbered file contents.
fn layer(work: &Path, seed: u64, files: u64) -> Result<Layer> {
    let tar = work.join(format!("{seed}.tar"));
    let mut writer = BufWriter::new(File::create(&tar)?);
    write_tar(&mut writer, seed, files)?;
    writer.into_inner()?.sync_data()?;
    let layer = Layer::of(&tar)?;
    say(&format!(
        "  layer {seed}: {} bytes, {} compressed",
        fs::metadata(&tar)?.len(),
        layer.size
    ));
    fs::remove_file(&tar)?;
    Ok(layer)
}

/// A tar of `files` files in folders of a hundred.
fn write_tar(output: &mut impl Write, seed: u64, files: u64) -> Result<()> {
    let mut random = Random::new(seed + 1);
    let mut content = Vec::new();
    for number in 0..files {
        if number % 100 == 0 {
            header(output, &folder(seed, number), b'5', 0)?;
        }
        let size = file_size(&mut random);
        make_content(&mut random, size, &mut content);
        header(
            output,
            &format!("{}file-{number}", folder(seed, number)),
            b'0',
            content.len(),
        )?;
        output.write_all(&content)?;
        output.write_all(&[0; 512][..(512 - content.len() % 512) % 512])?;
    }
    output.write_all(&[0; 1024])?;
    Ok(())
}

fn folder(seed: u64, number: u64) -> String {
    format!("usr/share/layer-{seed}/{}/", number / 100)
}

fn header(output: &mut impl Write, name: &str, kind: u8, size: usize) -> Result<()> {
    let mut block = [0u8; 512];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, if kind == b'5' { "0000755" } else { "0000644" });
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, &format!("{:011o}", 1_700_000_000));
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    output.write_all(&block)?;
    Ok(())
}

/// Many small files and a few large ones: each doubling is a little rarer than the one before.
fn file_size(random: &mut Random) -> usize {
    let mut size = 600;
    while size < 4 << 20 && random.below(100) < 66 {
        size *= 2;
    }
    size + random.below(size)
}

fn make_content(random: &mut Random, size: usize, content: &mut Vec<u8>) {
    content.clear();
    // Every fifth file is compressed already, as pictures and archives are.
    let noise = random.below(5) == 0;
    while content.len() < size {
        let available = content.len().min(32_000);
        if noise {
            content.extend_from_slice(&random.next().to_le_bytes());
        } else if available < 64 || random.below(100) < 44 {
            for _ in 0..1 + random.below(8) {
                // The product of two even distributions is skewed like an alphabet.
                let letter = random.below(12) * random.below(20);
                content.push(u8::try_from(letter).expect("at most 209"));
            }
        } else {
            let long = random.below(8) == 0;
            let length = 3 + random.below(if long { 120 } else { 9 });
            // Near copies are more frequent than far ones.
            let reach = 1 + random.below(available - 1);
            let start = content.len() - 1 - random.below(reach);
            for at in start..start + length {
                content.push(content[at]);
            }
        }
    }
    content.truncate(size);
}

/// xorshift64*: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from((self.next() >> 33) % bound).expect("below a usize")
    }
}
