//! Tables: owners, heirs, fixation, and what is dropped when.

use super::*;

#[test]
fn miri_a_table_goes_with_its_owner_or_to_its_heir() {
    use noex::ets::{DuplicateBag, OrderedSet, Set, Transfer};
    use noex::{Table, TableError};
    type Gift = Transfer<u32, Dropped, Set, u8>;

    let (system, driver) = manual();
    let drops = Drops::default();
    let (tell, told) = std::sync::mpsc::channel();
    let heir: Recipient<Gift> = system
        .spawn(move |mut cx: Inbox<Gift>| async move {
            let Received::Message(gift) = cx.recv().await else {
                return;
            };
            let second = cx.recv().await;
            tell.send((gift.data, matches!(second, Received::Message(_))))
                .unwrap();
        })
        .unwrap();
    let (give, given) = std::sync::mpsc::channel();
    let (to, object) = (heir.clone(), drops.one());
    let owner = system.spawn(move |mut cx: Inbox<()>| async move {
        let kept: Table<u32, Dropped> = Table::builder().heir(&to, 1).build(&cx).unwrap();
        let gone: Table<u32, Dropped> = Table::new(&cx);
        let gift: Table<u32, Dropped> = Table::new(&cx);
        kept.insert(1, object).unwrap();
        gift.give_away(&to, 2).unwrap();
        let fixed = gone.fix().unwrap();
        give.send((kept, gone, fixed)).unwrap();
        cx.recv().await;
    });
    driver.run_until_idle();
    let (kept, gone, fixed) = given.recv().unwrap();
    let lost: Table<u32, Dropped, DuplicateBag> = system.table(Table::builder()).unwrap();
    lost.insert_many((0..3).map(|n| (n % 2, drops.one())))
        .unwrap();
    system.exit(owner.unwrap().pid(), ExitReason::Kill);
    driver.run_until_idle();
    assert_eq!(told.recv().unwrap(), (2, true));
    // The heir has ended, too, with all that was its.
    assert_eq!(
        (kept.len(), gone.len()),
        (Err(TableError::Gone), Err(TableError::Gone))
    );
    assert_eq!(drops.count(), 1);
    drop(fixed);
    let sorted: Table<u32, u32, OrderedSet> = system.table(Table::builder()).unwrap();
    sorted
        .insert_many((0..40).map(|n| (n * 7 % 40, n)))
        .unwrap();
    assert_eq!(sorted.select_delete(|key, _| key % 2 == 0), Ok(20));
    assert_eq!(sorted.range(10..14), Ok(vec![(11, 13), (13, 19)]));
    assert_eq!(sorted.update_counter(&11, |n| n, 1), Ok(14));
    drop(driver);
    drop(system);
    assert_eq!(lost.len(), Err(TableError::Gone));
    drop(lost);
    assert_eq!(drops.count(), 4);
}
