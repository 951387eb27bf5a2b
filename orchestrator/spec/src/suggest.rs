//! "did you mean": the nearest of some known words.

/// The known word that differs least, when it is near enough to be a slip of the hand.
pub(crate) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known
        .map(|candidate| {
            (
                strsim::osa_distance(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_slip_is_corrected_and_a_stranger_is_not() {
        let known = ["image", "ports", "environment"];
        assert_eq!(closest("imgae", known.into_iter()), Some("image"));
        assert_eq!(
            closest("enviroment", known.into_iter()),
            Some("environment")
        );
        assert_eq!(closest("banana", known.into_iter()), None);
    }
}
