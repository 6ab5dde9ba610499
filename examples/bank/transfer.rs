//! Accounts and transfers, and the line of a file that a transfer is read from.

use std::fmt;
use std::sync::Arc;

/// The first line of a file may be this.
pub(crate) const HEADER: &str = "id,from,to,cents";

/// The names of the branches; everything else names a branch by its place in here.
#[derive(Clone, Debug)]
pub(crate) struct Branches(Arc<[String]>);

impl Branches {
    /// # Errors
    /// There are none, too many, two of one name, or a name that could not be a file's.
    pub(crate) fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, String> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        for (i, name) in names.iter().enumerate() {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("{name:?} is no name for a branch"));
            }
            if names[..i].contains(name) {
                return Err(format!("two branches are called {name:?}"));
            }
        }
        match names.len() {
            0 => Err("a bank needs a branch".to_owned()),
            1..=256 => Ok(Branches(names.into())),
            _ => Err("more than 256 branches".to_owned()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn name(&self, branch: u8) -> &str {
        &self.0[usize::from(branch)]
    }

    pub(crate) fn find(&self, name: &str) -> Option<u8> {
        let place = self.0.iter().position(|branch| branch == name)?;
        u8::try_from(place).ok()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u8> + use<> {
        (0..self.0.len()).filter_map(|id| u8::try_from(id).ok())
    }
}

/// `north-0042`: an account of a branch. Whether the branch has opened it, the branch knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) branch: u8,
    pub(crate) number: u32,
}

/// An order to move money. The id is the client's: sent twice, it is still one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) id: u64,
    pub(crate) from: Account,
    pub(crate) to: Account,
    pub(crate) cents: u64,
}

/// Why a line was not handed to any branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    /// It is no transfer, for this reason.
    Malformed(&'static str),
    /// It is one, but no branch has that name.
    UnknownBranch,
}

/// Reads `id,from,to,cents`.
pub(crate) fn parse(line: &[u8], branches: &Branches) -> Result<Transfer, Reject> {
    use Reject::Malformed;
    let line = std::str::from_utf8(line).map_err(|_| Malformed("it is not UTF-8"))?;
    let mut fields = line.split(',').map(str::trim);
    let (Some(id), Some(from), Some(to), Some(cents), None) = (
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
    ) else {
        return Err(Malformed("it has not four fields"));
    };
    let id = number(id).ok_or(Malformed("its id is no number"))?;
    let cents = number(cents).ok_or(Malformed("its amount is no number of cents"))?;
    if cents == 0 {
        return Err(Malformed("it moves nothing"));
    }
    // All of the line is looked at before a name that merely is unknown decides.
    let (from, to) = (split(from)?, split(to)?);
    if from == to {
        return Err(Malformed("it goes from an account to itself"));
    }
    let account = |(branch, number)| match branches.find(branch) {
        Some(branch) => Ok(Account { branch, number }),
        None => Err(Reject::UnknownBranch),
    };
    Ok(Transfer {
        id,
        from: account(from)?,
        to: account(to)?,
        cents,
    })
}

fn split(account: &str) -> Result<(&str, u32), Reject> {
    account
        .rsplit_once('-')
        .filter(|(branch, _)| !branch.is_empty())
        .and_then(|(branch, digits)| Some((branch, number(digits)?.try_into().ok()?)))
        .ok_or(Reject::Malformed("an account is not like north-0042"))
}

/// Digits only: what `parse` takes of itself, a `+` for one, is not a number here.
fn number(digits: &str) -> Option<u64> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

/// Cents as money: `1,234,567.08`.
pub(crate) struct Money(pub(crate) u128);

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:02}", Count(self.0 / 100), self.0 % 100);
        f.pad(&text)
    }
}

/// A number with its thousands apart: `1,234,567`.
pub(crate) struct Count<N>(pub(crate) N);

impl<N: fmt::Display> fmt::Display for Count<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branches() -> Branches {
        Branches::new(["north", "south"]).unwrap()
    }

    fn read(line: &str) -> Result<Transfer, Reject> {
        parse(line.as_bytes(), &branches())
    }

    #[test]
    fn a_line_is_a_transfer() {
        let north_42 = Account {
            branch: 0,
            number: 42,
        };
        let south_7 = Account {
            branch: 1,
            number: 7,
        };
        let expected = Transfer {
            id: 17,
            from: north_42,
            to: south_7,
            cents: 1250,
        };
        assert_eq!(read("17,north-0042,south-0007,1250"), Ok(expected));
        assert_eq!(read(" 17, north-42 ,south-7 , 1250 "), Ok(expected));
    }

    #[test]
    fn what_is_no_transfer_is_malformed_and_says_why() {
        for (line, why) in [
            ("", "it has not four fields"),
            ("1,north-1,south-1", "it has not four fields"),
            ("1,north-1,south-1,5,6", "it has not four fields"),
            ("x,north-1,south-1,5", "its id is no number"),
            (",north-1,south-1,5", "its id is no number"),
            ("-1,north-1,south-1,5", "its id is no number"),
            (
                "99999999999999999999,north-1,south-1,5",
                "its id is no number",
            ),
            ("1,north-1,south-1,5.00", "its amount is no number of cents"),
            ("1,north-1,south-1,+5", "its amount is no number of cents"),
            ("1,north-1,south-1,-5", "its amount is no number of cents"),
            ("1,north-1,south-1,0", "it moves nothing"),
            ("1,north,south-1,5", "an account is not like north-0042"),
            ("1,north-1,-1,5", "an account is not like north-0042"),
            (
                "1,north-1,south-4294967296,5",
                "an account is not like north-0042",
            ),
            (
                "1,north-1,north-0001,5",
                "it goes from an account to itself",
            ),
        ] {
            assert_eq!(read(line), Err(Reject::Malformed(why)), "{line:?}");
        }
        assert_eq!(
            parse(b"1,north-1,s\xffuth-1,5", &branches()),
            Err(Reject::Malformed("it is not UTF-8"))
        );
    }

    #[test]
    fn a_branch_that_does_not_exist_is_no_mistake_of_form() {
        assert_eq!(read("1,north-1,west-1,5"), Err(Reject::UnknownBranch));
        assert!(matches!(
            read("1,north-1,west-1,many"),
            Err(Reject::Malformed(_))
        ));
    }

    #[test]
    fn branches_have_different_names_that_can_be_files() {
        assert!(Branches::new(["a", "b_2"]).is_ok());
        assert!(Branches::new(["a", "a"]).is_err());
        assert!(Branches::new(["../a"]).is_err());
        assert!(Branches::new([""]).is_err());
        assert!(Branches::new(Vec::<String>::new()).is_err());
        assert!(Branches::new((0..257).map(|i| format!("b{i}"))).is_err());
    }

    #[test]
    fn money_is_printed_to_the_cent() {
        assert_eq!(Money(123_456_708).to_string(), "1,234,567.08");
        assert_eq!(Money(5).to_string(), "0.05");
        assert_eq!(format!("{:>8}|", Count(1234)), "   1,234|");
    }
}
