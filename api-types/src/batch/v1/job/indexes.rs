//! Indexes of a Job as text: numbers and ranges in ascending order, `1,3-5`.

/// How many indexes a text names; `completions` bounds them.
///
/// # Errors
/// What is wrong with the text, in upstream's words.
pub fn count(text: &str, completions: i32) -> Result<i32, String> {
    let (mut total, mut last): (i32, Option<i32>) = (0, None);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// First and last index of one part.
///
/// # Errors
/// As `count`.
pub fn interval(part: &str, completions: i32) -> Result<(i32, i32), String> {
    let number = |text: &str| {
        let number: i32 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if number < completions { Ok(number) } else { Err(format!("too large index: {text:?}")) }
    };
    match part.split('-').collect::<Vec<_>>().as_slice() {
        [one] => number(one).map(|n| (n, n)),
        [first, last] => {
            let (first, last) = (number(first)?, number(last)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        )),
    }
}

/// The first index that both texts name. Parts that do not parse are passed over.
pub fn overlap(one: &str, other: &str, completions: i32) -> Option<i32> {
    let parse = |text: &str| -> Vec<(i32, i32)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (ones, others) = (parse(one), parse(other));
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (ones.get(i), others.get(j)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 { i += 1 } else { j += 1 }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted() {
        assert_eq!(count("", 5), Ok(0));
        assert_eq!(count("0,2-4", 5), Ok(4));
        assert_eq!(count("0,2-5", 5), Err(r#"too large index: "5""#.into()));
        assert_eq!(count("3,1", 5), Err("non-increasing order, previous: 3, current: 1".into()));
        assert_eq!(count("2-2", 5), Err("non-increasing order, previous: 2, current: 2".into()));
        assert_eq!(count("a", 5), Err(r#"cannot convert string to integer for index: "a""#.into()));
    }

    #[test]
    fn overlaps_are_found() {
        assert_eq!(overlap("0-2,5", "3,4-6", 10), Some(5));
        assert_eq!(overlap("0-2", "3,4-6", 10), None);
    }
}
