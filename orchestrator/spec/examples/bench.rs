//! Times of the whole way from text to canonical form, for a small stack and a huge one; best of several runs.
//!
//! `cargo run --release -p hoist-spec --example bench`

#![expect(clippy::disallowed_methods, reason = "time is what this is about")]
#![expect(clippy::print_stdout, reason = "the figures are its output")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hoist_spec::{Env, Kind, LoadRequest, Source, SourceError, canonical, load};

/// One file, `/bench/compose.yaml`.
struct One(String);

impl Source for One {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        if path == Path::new("/bench/compose.yaml") {
            Ok(self.0.clone())
        } else {
            Err(SourceError::NotFound)
        }
    }

    fn kind(&self, path: &Path) -> Kind {
        if path == Path::new("/bench/compose.yaml") {
            Kind::File
        } else {
            Kind::Missing
        }
    }

    fn working_dir(&self) -> PathBuf {
        PathBuf::from("/bench")
    }

    fn stdin(&self) -> Result<String, SourceError> {
        Err(SourceError::NotFound)
    }
}

/// A stack as people write them: short forms, variables, a dependency on the service before.
fn stack(services: usize) -> String {
    let mut text = String::from("services:\n");
    for index in 0..services {
        let port = 10_000 + index % 50_000;
        let _ = write!(
            text,
            "  service-{index}:\n    image: registry.example/app/part:${{TAG:-1.{}}}\n    restart: unless-stopped\n\
             \x20   environment:\n      - MODE=production\n      - DATABASE=postgres://db/app\n    ports: [\"{port}:80\"]\n\
             \x20   volumes: [\"data:/var/lib/app\"]\n",
            index % 40
        );
        if index > 0 {
            let _ = writeln!(text, "    depends_on: [service-{}]", index - 1);
        }
    }
    text.push_str("volumes:\n  data: {}\n");
    text
}

fn time(text: &str, runs: usize) -> Duration {
    let source = One(text.to_owned());
    let env: Env = [("TAG", "2"), ("HOME", "/root")].into_iter().collect();
    let once = || {
        let start = Instant::now();
        let loaded = load(&LoadRequest::default(), &source, &env).unwrap_or_else(|errors| {
            panic!(
                "{}",
                errors
                    .first()
                    .map(|error| error.message.clone())
                    .unwrap_or_default()
            )
        });
        let printed = canonical::to_json(&loaded.stack).to_string();
        assert!(!printed.is_empty());
        start.elapsed()
    };
    (0..runs).map(|_| once()).min().unwrap_or_default()
}

fn main() -> ExitCode {
    let mut within = true;
    for (services, runs, limit) in [
        (20, 50, Duration::from_millis(3)),
        (4_000, 15, Duration::from_millis(300)),
    ] {
        let text = stack(services);
        let best = time(&text, runs);
        within &= best <= limit;
        println!(
            "{services} services, {} kB: {:.2} ms (limit {} ms)",
            text.len() / 1000,
            best.as_secs_f64() * 1000.0,
            limit.as_millis()
        );
    }
    if within {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
