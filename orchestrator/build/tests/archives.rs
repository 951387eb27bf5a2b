//! ADD of archives: they follow what the image has, replace what stands in their way, and stay inside.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod world;

use std::process::Command;

#[tokio::test]
async fn archives_unpack_through_the_symlinks_of_the_image() {
    let world = world_or_skip!();
    world.base().await;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o4755);
    header.set_uid(7);
    tar.append_data(&mut header.clone(), "lib/tool", &b"hi"[..])
        .unwrap();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Link);
    tar.append_link(&mut header.clone(), "lib/again", "lib/tool")
        .unwrap();
    header.set_entry_type(tar::EntryType::Symlink);
    tar.append_link(&mut header.clone(), "lib/outside", "/etc/passwd")
        .unwrap();
    let plain = tar.into_inner().unwrap();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        encoder.finish().unwrap()
    };
    world.write("a.tar", &plain);
    world.write("a.tgz", &gzip);
    world.write("a.zst", zstd::encode_all(&plain[..], 1).unwrap());
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    std::io::Write::write_all(&mut bzip2, &plain).unwrap();
    world.write("a.bz2", bzip2.finish().unwrap());
    let mut xz =
        lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    std::io::Write::write_all(&mut xz, &plain).unwrap();
    world.write("a.xz", xz.finish().unwrap());
    world.write("b.gz", &gzip[..20]);
    for archive in ["a.tar", "a.tgz", "a.zst", "a.bz2", "a.xz"] {
        let built = world
            .build(&format!(
                "FROM mybase:1.0\nRUN mkdir -p /usr/lib && ln -s usr/lib /lib\nADD {archive} /\nADD b.gz /b.gz\n"
            ))
            .await;
        let script = "ls -ld /lib | cut -c1; stat -c '%a %u %h' /usr/lib/tool; cat /usr/lib/again; readlink \
                      /usr/lib/outside; ls -d /b.gz";
        assert_eq!(
            world.inside(&built.images[0], script).await,
            "l\n4755 7 2\nhi/etc/passwd\n/b.gz\n",
            "{archive}"
        );
    }
    world.write("b.xz", [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 0]);
    let built = world.build("FROM mybase:1.0\nADD b.xz /\n").await;
    // What only begins like an archive is copied as it is.
    assert_eq!(
        world.inside(&built.images[0], "stat -c %s /b.xz").await,
        "8\n"
    );
}

#[tokio::test]
async fn hostile_archives_stay_inside() {
    let world = world_or_skip!();
    world.base().await;
    let outside = world.folder.path().join("canary");
    std::fs::write(&outside, "canary").unwrap();
    let entry = |build: &dyn Fn(&mut tar::Builder<Vec<u8>>)| {
        let mut tar = tar::Builder::new(Vec::new());
        build(&mut tar);
        tar.into_inner().unwrap()
    };
    let raw = |tar: &mut tar::Builder<Vec<u8>>,
               name: &str,
               kind: tar::EntryType,
               link: &str,
               content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    };
    let up = "../".repeat(12) + outside.to_str().unwrap().trim_start_matches('/');
    let host = outside.to_str().unwrap();
    world.write(
        "dots.tar",
        entry(&|tar| raw(tar, &up, tar::EntryType::Regular, "", b"bad")),
    );
    world.write(
        "link.tar",
        entry(&|tar| {
            raw(tar, "out", tar::EntryType::Symlink, "/", b"");
            raw(
                tar,
                &format!("out{host}"),
                tar::EntryType::Regular,
                "",
                b"bad",
            );
        }),
    );
    world.write(
        "hard.tar",
        entry(&|tar| raw(tar, "x", tar::EntryType::Link, &up, b"")),
    );
    world.write(
        "whiteout.tar",
        entry(&|tar| raw(tar, ".wh.bin", tar::EntryType::Regular, "", b"")),
    );
    for bad in ["dots.tar", "hard.tar", "whiteout.tar"] {
        let error = world
            .try_build(&world.request(&format!("FROM mybase:1.0\nADD {bad} /x/\n")))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("inline Dockerfile:2:1"),
            "{bad}: {error}"
        );
    }
    let built = world.build("FROM mybase:1.0\nADD link.tar /x/\n").await;
    assert_eq!(
        world.inside(&built.images[0], &format!("cat {host}")).await,
        "bad",
        "inside of the image's root"
    );
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "canary");
}

/// Entries as GNU tar writes them, made below a folder of their own.
fn packed(world: &world::World, name: &str, options: &[&str], fill: &str) {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .arg("-ec")
        .arg(fill)
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(made.success());
    let mut tar = Command::new("tar");
    tar.args(options)
        .args(["--owner=0", "--group=0", "-cf"])
        .arg(world.path(name))
        .arg("-C")
        .arg(folder.path());
    assert!(tar.arg(".").status().unwrap().success());
}

#[tokio::test]
async fn an_archive_replaces_what_stands_in_its_way() {
    let world = world_or_skip!();
    world.base().await;
    packed(
        &world,
        "a.tar",
        &[],
        "mkdir -p was-file kept full; echo new > was-folder; echo in > was-file/in; echo more > kept/more; chmod 700 kept; \
         touch -d @1000000000 kept; ln -s /elsewhere was-full; echo deep > full/deep",
    );
    let built = world
        .build(
            "FROM mybase:1.0\nRUN mkdir /mnt && cd /mnt && mkdir -p was-folder/sub kept full was-full/a/b && echo x > was-file \
             && touch was-folder/sub/x kept/old was-full/a/b/c && touch -d @1200000000 full .\nADD a.tar /mnt/\n",
        )
        .await;
    let script = "cd /mnt; cat was-folder was-file/in full/deep; readlink was-full; ls kept; stat -c '%a %Y' kept; stat -c %Y .";
    assert_eq!(
        world.inside(&built.images[0], script).await,
        "new\nin\ndeep\n/elsewhere\nmore\nold\n700 1000000000\n1200000000\n",
        "what is only passed through keeps its time"
    );
}

#[tokio::test]
async fn a_hard_link_of_an_archive_may_lead_into_the_image() {
    let world = world_or_skip!();
    world.base().await;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Link);
    tar.append_link(&mut header, "etc/second", "etc/passwd")
        .unwrap();
    world.write("a.tar", tar.into_inner().unwrap());
    let built = world.build("FROM mybase:1.0\nADD a.tar /\n").await;
    assert_eq!(
        world
            .inside(
                &built.images[0],
                "cmp /etc/passwd /etc/second && stat -c %h /etc/second"
            )
            .await,
        "2\n"
    );
}

#[tokio::test]
async fn several_sources_and_an_image_of_nothing_else() {
    let world = world_or_skip!();
    world.base().await;
    packed(&world, "a.tar", &[], "mkdir d; echo a > d/a");
    packed(&world, "b.tar", &["-z"], "mkdir d; echo b > d/b");
    world.write("plain", "plain");
    let built = world
        .build("FROM mybase:1.0\nADD a.tar plain b.tar /x/\nADD a.tar /new/deep/\n")
        .await;
    assert_eq!(
        world
            .inside(&built.images[0], "cd /x; cat d/a d/b plain /new/deep/d/a")
            .await,
        "a\nb\nplaina\n"
    );
    let built = world
        .build("FROM scratch AS files\nADD a.tar /\nFROM mybase:1.0\nCOPY --from=files / /y/\n")
        .await;
    assert_eq!(world.inside(&built.images[0], "cat /y/d/a").await, "a\n");
    let built = world.build("FROM mybase:1.0\nADD --link a.tar /z/\n").await;
    assert_eq!(world.inside(&built.images[0], "cat /z/d/a").await, "a\n");
}

#[tokio::test]
async fn sparse_files_of_archives_keep_their_holes() {
    let world = world_or_skip!();
    world.base().await;
    let forms: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for form in forms {
        let options = [&["--sparse"], form].concat();
        packed(
            &world,
            "a.tar",
            &options,
            "echo start > f; truncate -s 100M f; echo end >> f",
        );
        let built = world.build("FROM mybase:1.0\nADD a.tar /s/\n").await;
        let script = "cd /s; ls; stat -c '%s' f; head -c 6 f; tail -c 4 f; [ $(stat -c %b f) -lt 1000 ] && echo sparse";
        assert_eq!(
            world.inside(&built.images[0], script).await,
            "f\n104857604\nstart\nend\nsparse\n",
            "{form:?}"
        );
    }
}
