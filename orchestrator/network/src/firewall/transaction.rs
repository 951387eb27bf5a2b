//! What brings a table from one state to another: a list of operations that the kernel does together or not at all.

use super::rules::{Chain, Data, Field, Rule, Ruleset, Set, Target, Value};

#[derive(Debug, Clone)]
pub(crate) enum Operation<'a> {
    AddTable,
    DeleteTable,
    AddSet(&'a Set),
    FlushSet(&'a Set),
    AddElements(&'a Set, Elements<'a>),
    DeleteElements(&'a Set, Elements<'a>),
    AddChain(&'a Chain),
    FlushChain(&'a str),
    DeleteChain(&'a str),
    AddRule(&'a str, &'a Rule),
}

pub(crate) type Elements<'a> = Vec<(&'a Vec<Value>, &'a Target)>;

/// Makes the table be `new`, whatever it holds now, without touching the user's chain. `stale` are chains that exist and
/// are not in `new`.
pub(crate) fn replace<'a>(new: &'a Ruleset, stale: &[&'a str]) -> Vec<Operation<'a>> {
    use Operation::{
        AddChain, AddElements, AddRule, AddSet, AddTable, DeleteChain, FlushChain, FlushSet,
    };
    let mut operations = vec![AddTable];
    operations.extend(new.sets.iter().map(AddSet));
    for chain in &new.chains {
        operations.push(AddChain(chain));
        if !chain.users {
            operations.push(FlushChain(&chain.name));
        }
    }
    for set in &new.sets {
        operations.push(FlushSet(set));
        if !set.elements.is_empty() {
            operations.push(AddElements(set, set.elements.iter().collect()));
        }
    }
    for chain in &new.chains {
        operations.extend(chain.rules.iter().map(|rule| AddRule(&chain.name, rule)));
    }
    for chain in stale {
        operations.extend([FlushChain(chain), DeleteChain(chain)]);
    }
    operations
}

/// From `old` to `new` where only elements differ; None where a rule does.
pub(crate) fn change<'a>(old: &'a Ruleset, new: &'a Ruleset) -> Option<Vec<Operation<'a>>> {
    let same_sets = old.sets.iter().map(shape).eq(new.sets.iter().map(shape));
    if old.chains != new.chains || !same_sets {
        return None;
    }
    let mut operations = Vec::new();
    for (old, new) in old.sets.iter().zip(&new.sets) {
        let gone: Elements<'_> = old
            .elements
            .iter()
            .filter(|(key, target)| new.elements.get(*key) != Some(*target))
            .collect();
        if !gone.is_empty() {
            operations.push(Operation::DeleteElements(old, gone));
        }
        let come: Elements<'_> = new
            .elements
            .iter()
            .filter(|(key, target)| old.elements.get(*key) != Some(*target))
            .collect();
        if !come.is_empty() {
            operations.push(Operation::AddElements(new, come));
        }
    }
    Some(operations)
}

/// Leaves nothing, whether the table exists or not.
pub(crate) fn remove() -> Vec<Operation<'static>> {
    vec![Operation::AddTable, Operation::DeleteTable]
}

fn shape(set: &Set) -> (&str, &[Field], Data) {
    (&set.name, &set.key, set.data)
}
