//! volumes, tmpfs, devices, shm_size.

use expect_test::expect;

use super::files::check;

#[test]
fn short_and_long_forms() {
    check(
        r#"
services:
  a:
    image: a
    read_only: true
    shm_size: 64m
    tmpfs: ["/run:size=64m,mode=1777,uid=1", /tmp]
    devices: [/dev/fuse, "/dev/a:/dev/b:r"]
    volumes:
      - /anonymous
      - data:/data:nocopy
      - ./src:/src:ro,z
      - ~/home:/home
      - type: bind
        source: ../other
        target: /other/../there
        read_only: true
        consistency: cached
        bind: {create_host_path: false, propagation: rslave, selinux: z}
      - type: volume
        source: data
        target: /again
        volume: {nocopy: true, subpath: a/b}
      - {type: tmpfs, target: /scratch, tmpfs: {size: 1m, mode: 448}}
volumes:
  data: {driver: local, labels: {a: b}, name: shared}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                devices:
                  - source: /dev/fuse
                    target: /dev/fuse
                    permissions: rwm
                  - source: /dev/a
                    target: /dev/b
                    permissions: r
                image: a
                networks:
                  default: null
                read_only: true
                shm_size: "67108864"
                tmpfs:
                  - /run:size=64m,mode=1777,uid=1
                  - /tmp
                volumes:
                  - type: volume
                    target: /anonymous
                    volume: {}
                  - type: volume
                    source: data
                    target: /data
                    volume:
                      nocopy: true
                  - type: bind
                    source: /demo/src
                    target: /src
                    read_only: true
                    bind:
                      selinux: z
                  - type: bind
                    source: /root/home
                    target: /home
                    bind: {}
                  - type: bind
                    source: /other
                    target: /there
                    read_only: true
                    consistency: cached
                    bind:
                      selinux: z
                      propagation: rslave
                      create_host_path: false
                  - type: volume
                    source: data
                    target: /again
                    volume:
                      nocopy: true
                      subpath: a/b
                  - type: tmpfs
                    target: /scratch
                    tmpfs:
                      mode: 448
                      size: "1048576"
            networks:
              default:
                name: demo_default
            volumes:
              data:
                name: shared
                driver: local
                labels:
                  a: b
        "#]],
    );
}

#[test]
fn external_volumes_keep_their_name() {
    check(
        "services:\n  a: {image: a, volumes: ['v:/v', 'w:/w']}\nvolumes:\n  v: {external: true}\n  w: \n",
        expect![[r#"
            name: demo
            services:
              a:
                image: a
                networks:
                  default: null
                volumes:
                  - type: volume
                    source: v
                    target: /v
                    volume: {}
                  - type: volume
                    source: w
                    target: /w
                    volume: {}
            networks:
              default:
                name: demo_default
            volumes:
              v:
                name: v
                external: true
              w:
                name: demo_w
        "#]],
    );
}

#[test]
fn external_volumes_say_nothing_else() {
    check(
        "services:\n  a: {image: a, volumes: ['v:/v']}\nvolumes:\n  v:\n    external: true\n    driver: local\n",
        expect![[r#"
        error[E0018]: `volumes`: `external` and `driver` exclude each other
         --> compose.yaml:6:5
          |
        5 |     external: true
          |     -------- says that it exists already
        6 |     driver: local
          |     ^^^^^^ says how to make it
    "#]],
    );
}

#[test]
fn an_undefined_volume_is_an_error() {
    check(
        "services:\n  a:\n    image: a\n    volumes:\n      - data:/data\n",
        expect![[r#"
            error[E0016]: service `a` uses the undefined volume `data`
             --> compose.yaml:5:9
              |
            5 |       - data:/data
              |         ^^^^ no volume of this name
              |
              = help: declare it at the top level: `volumes: {data: }`
        "#]],
    );
}

#[test]
fn malformed_mounts_are_errors() {
    check(
        "services:\n  a:\n    image: a\n    tmpfs: /x:color=red\n    volumes:\n      - /a::ro\n      - {type: bind, target: /x}\n      - {type: disk, target: /x}\n",
        expect![[r#"
            error[E0009]: `services.a.tmpfs`: `color=red` is not an option of a tmpfs
             --> compose.yaml:4:12
              |
            4 |     tmpfs: /x:color=red
              |            ^^^^^^^^^^^^ this value

            error[E0024]: service `a` mounts two things at `/x`
             --> compose.yaml:4:12
              |
            4 |     tmpfs: /x:color=red
              |            ^^^^^^^^^^^^ mounted again
            ...
            8 |       - {type: disk, target: /x}
              |         ------------------------ first mounted here

            error[E0009]: `/a::ro` is not a volume: there is nothing between two colons
             --> compose.yaml:6:9
              |
            6 |       - /a::ro
              |         ^^^^^^ [SOURCE:]TARGET[:OPTIONS]

            error[E0008]: a bind mount needs a `source`
             --> compose.yaml:7:9
              |
            7 |       - {type: bind, target: /x}
              |         ^^^^^^^^^^^^^^^^^^^^^^^^ which file or folder of the host?

            error[E0020]: `services.a.volumes.1`: a mount of type `disk` is not supported yet
             --> compose.yaml:8:9
              |
            8 |       - {type: disk, target: /x}
              |         ^^^^^^^^^^^^^^^^^^^^^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: use a mount of type bind, volume or tmpfs

            error[E0009]: `services.a.volumes[2].type`: `disk` is not one of `bind`, `volume`, `tmpfs`, `cluster`, `npipe`, `image`
             --> compose.yaml:8:16
              |
            8 |       - {type: disk, target: /x}
              |                ^^^^ this value
        "#]],
    );
}

#[test]
fn one_place_cannot_show_two_things() {
    check(
        "services:\n  a:\n    image: a\n    tmpfs: /data:mode=700\n    volumes:\n      - /data\n",
        expect![[r#"
        error[E0024]: service `a` mounts two things at `/data`
         --> compose.yaml:4:12
          |
        4 |     tmpfs: /data:mode=700
          |            ^^^^^^^^^^^^^^ mounted again
        5 |     volumes:
        6 |       - /data
          |         ----- first mounted here
    "#]],
    );
}

#[test]
fn other_drivers_and_relative_targets_are_refused() {
    check(
        "services:\n  a:\n    image: a\n    networks: [n]\n    volumes:\n      - v:/v\n      - ./a:b\nvolumes: {v: {driver: nfs}}\nnetworks: {n: {driver: overlay}}\n",
        expect![[r#"
            error[E0020]: `services.a.volumes.1`: the target `b`, which is not absolute, is not supported yet
             --> compose.yaml:7:9
              |
            7 |       - ./a:b
              |         ^^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: begin it with `/`

            error[E0020]: `volumes.v`: the driver `nfs` is not supported yet
             --> compose.yaml:8:23
              |
            8 | volumes: {v: {driver: nfs}}
              |                       ^^^ hoist cannot act on this, and does not ignore it
              |
              = help: use the driver `local`; mount other storage on the host, and bind it: `volumes: [/mnt/data:/data]`

            error[E0020]: `networks.n`: the driver `overlay` is not supported yet
             --> compose.yaml:9:24
              |
            9 | networks: {n: {driver: overlay}}
              |                        ^^^^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: use the driver `bridge`; `network_mode: host` puts a service on the network of the host
        "#]],
    );
}

#[test]
fn an_external_volume_whose_name_is_nothing_stays_nameless() {
    check(
        "services:\n  web: {image: a, volumes: ['data:/data']}\nvolumes:\n  data: {external: true, name: \"${NONE:-}\"}\n",
        expect![[r#"
            error[E0020]: `volumes.data`: an external resource without a name is not supported yet
             --> compose.yaml:4:9
              |
            4 |   data: {external: true, name: "${NONE:-}"}
              |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: give it a `name`
        "#]],
    );
}

#[test]
fn options_of_a_tmpfs_are_known() {
    check(
        r#"
services:
  a:
    image: a
    tmpfs:
      - /a:exec,suid,dev,noatime,ro,size=10%
      - /b:mode=0750,gid=4,nr_inodes=100
      - /c:shared
      - /d:exec=yes
"#,
        expect![[r#"
            error[E0009]: `services.a.tmpfs`: `shared` is not an option of a tmpfs
             --> compose.yaml:8:9
              |
            8 |       - /c:shared
              |         ^^^^^^^^^ this value

            error[E0009]: `services.a.tmpfs`: `exec=yes` is not an option of a tmpfs
             --> compose.yaml:9:9
              |
            9 |       - /d:exec=yes
              |         ^^^^^^^^^^^ this value
        "#]],
    );
}

#[test]
fn options_of_the_local_driver_are_known() {
    check(
        r#"
services:
  a: {image: a, volumes: ["v:/v", "w:/w"]}
volumes:
  v:
    driver_opts:
      size: 10m
  w:
    driver_opts: {type: nfs, o: addr=10.0.0.1}
"#,
        expect![[r#"
            error[E0009]: `volumes.v.driver_opts`: `size` is not an option of the driver `local`, which has `type`, `device` and `o`
             --> compose.yaml:7:7
              |
            7 |       size: 10m
              |       ^^^^ these options

            error[E0009]: `volumes.w.driver_opts`: the driver `local` needs the option `device` when it has others
             --> compose.yaml:9:18
              |
            9 |     driver_opts: {type: nfs, o: addr=10.0.0.1}
              |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ these options
        "#]],
    );
}

#[test]
fn volumes_of_others() {
    check(
        r#"
services:
  a: {image: a}
  b: {image: b, volumes_from: [a, "a:ro", "container:other:rw", "a:no"]}
"#,
        expect![[r#"
            error[E0009]: `services.b.volumes_from`: `a:no` is not a source of volumes
             --> compose.yaml:4:65
              |
            4 |   b: {image: b, volumes_from: [a, "a:ro", "container:other:rw", "a:no"]}
              |                                                                 ^^^^^^ SERVICE[:ro|:rw] or container:NAME[:ro|:rw]
        "#]],
    );
    check(
        r#"
services:
  a: {image: a}
  b: {image: b, volumes_from: ["a:ro", "container:other"]}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                image: a
                networks:
                  default: null
              b:
                depends_on:
                  a:
                    condition: service_started
                    required: true
                image: b
                networks:
                  default: null
                volumes_from:
                  - a:ro
                  - container:other
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn the_old_form_of_external_names_it() {
    check(
        "services:\n  a: {image: a, volumes: ['n:/n']}\nvolumes:\n  n: {external: {name: outer}}\n",
        expect![[r#"
            name: demo
            services:
              a:
                image: a
                networks:
                  default: null
                volumes:
                  - type: volume
                    source: "n"
                    target: /n
                    volume: {}
            networks:
              default:
                name: demo_default
            volumes:
              "n":
                name: outer
                external: true

            warning[W0001]: `volumes`: `external.name` is obsolete
             --> compose.yaml:4:24
              |
            4 |   n: {external: {name: outer}}
              |                        ^^^^^ named here
              |
              = help: write `external: true` and `name` beside it
        "#]],
    );
}
