//! `hoist completion`: scripts for shells. They ask `hoist config --services` for the names of services.

use clap_complete::Shell;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

/// `whole`: the command line that is completed.
pub(crate) fn run(ctx: &Ctx, args: &Args, mut whole: clap::Command) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut whole, "hoist", &mut script);
    let script =
        String::from_utf8(script).map_err(|error| Failure::from(anyhow::Error::new(error)))?;
    ctx.ui
        .data(with_services(script, args.shell, &verbs(&whole)))?;
    Ok(Exit::OK)
}

/// Verbs whose arguments are services.
fn verbs(whole: &clap::Command) -> Vec<String> {
    let names_services = |verb: &&clap::Command| {
        verb.get_positionals().any(|arg| {
            arg.get_value_names()
                .is_some_and(|names| names.iter().any(|name| name.as_str() == "SERVICE"))
        })
    };
    whole
        .get_subcommands()
        .filter(names_services)
        .map(|verb| verb.get_name().to_owned())
        .collect()
}

fn with_services(mut script: String, shell: Shell, verbs: &[String]) -> String {
    match shell {
        Shell::Bash => {
            script.push_str(&BASH.replace("VERBS", &verbs.join("|")));
            script
        }
        Shell::Zsh => zsh(&script),
        Shell::Fish => {
            script.push_str(&format!(
                "complete -c hoist -n \"__fish_seen_subcommand_from {}\" -f -a \"(hoist config --services 2>/dev/null)\"\n",
                verbs.join(" ")
            ));
            script
        }
        _ => script,
    }
}

/// Options in front of the verb (-f, -p, …) say which stack is meant, so they are passed on.
const BASH: &str = r#"
_hoist_and_services() {
    _hoist "$@"
    local cur="${COMP_WORDS[COMP_CWORD]}" index word before=()
    [[ $cur == -* ]] && return
    for ((index = 1; index < COMP_CWORD; index++)); do
        case "${COMP_WORDS[index]}" in
            VERBS)
                for word in "${COMP_WORDS[@]:1:index-1}"; do
                    [[ $word == --dry-run ]] || before+=("$word")
                done
                COMPREPLY+=($(compgen -W "$(hoist "${before[@]}" config --services 2>/dev/null)" -- "$cur"))
                return
                ;;
        esac
    done
}
complete -F _hoist_and_services -o nosort -o bashdefault -o default hoist
"#;

const ZSH: &str = r#"
(( $+functions[_hoist_services] )) ||
_hoist_services() {
    local -a services
    services=(${(f)"$(hoist config --services 2>/dev/null)"})
    _describe 'service' services
}
"#;

/// Arguments that are services are completed by a function of their own.
fn zsh(script: &str) -> String {
    let mut output = String::with_capacity(script.len() + ZSH.len());
    for line in script.lines() {
        let argument = line
            .trim_start()
            .trim_start_matches(['"', '\''])
            .trim_start_matches(['*', ':']);
        let of_services =
            argument.starts_with("services -- ") || argument.starts_with("service -- ");
        match line.strip_suffix(":_default' \\") {
            Some(start) if of_services => output.push_str(&format!("{start}:_hoist_services' \\")),
            _ => output.push_str(line),
        }
        output.push('\n');
        if line.starts_with("#compdef") {
            output.push_str(ZSH);
        }
    }
    output
}
