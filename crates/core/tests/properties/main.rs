//! Whatever is asked and reported, in whatever order, these hold.
#![allow(unreachable_pub, reason = "the modules of a test are its own")]

#[allow(dead_code, reason = "shared with the rules")]
#[path = "../rules/scene.rs"]
mod scene;

mod export;
mod happenings;
mod invariants;

use greenroom_core::command::Now;
use greenroom_core::converge::{Action, Local, LocalCompute, converge};
use greenroom_core::{Assignment, Epoch, Generation, Order, Session, decide};
use proptest::prelude::*;

use happenings::Happening;
use invariants::Watch;
use scene::{at, run};

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(1500), ..asked }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_session_keeps_its_promises(
        persistent: bool,
        keeps_leftovers: bool,
        cancels: bool,
        steers: bool,
        happenings in prop::collection::vec(happenings::any(), 0..60),
    ) {
        let mut created = scene::created(persistent, keeps_leftovers);
        created.traits.cancels = cancels;
        created.traits.steers = steers;
        let mut watch = Watch::new(created);
        for happening in happenings {
            let command = happening.command(&watch);
            let before = watch.session.clone();
            if let Ok(facts) = decide(&watch.session, command.clone(), Now(at())) {
                watch.accept(&facts);
                watch.check(&before, &facts);
                if matches!(happening, Happening::Receipt { .. } | Happening::Stop { .. }) {
                    watch.check_repeated(command);
                }
            }
        }
        watch.check_log();
        let stored = serde_json::to_string(&watch.session).expect("it is written");
        let read: Session = serde_json::from_str(&stored).expect("it is read");
        prop_assert_eq!(&read, &watch.session);
    }

    #[test]
    fn an_edit_is_the_later_word(
        happenings in prop::collection::vec(happenings::asking(), 0..40),
    ) {
        let mut watch = Watch::new(scene::created(true, false));
        for happening in happenings::beginning().into_iter().chain(happenings) {
            let command = happening.command(&watch);
            if let Ok(facts) = decide(&watch.session, command, Now(at())) {
                watch.accept(&facts);
            }
        }
        watch.check_log();
    }

    #[test]
    fn a_runner_starts_nothing_old_and_removes_nothing_alive(
        floor in 0u32..4,
        seen in 0u64..4,
        live in prop::option::of((0u32..5, prop::option::of(1u128..3), any::<bool>())),
        epoch in 1u32..5,
        generation in 0u64..5,
        which in 0usize..6,
        handed_settings in prop::option::of(0u64..3),
        settings in prop::option::of(0u64..3),
    ) {
        let stop = scene::session().running().stops().stop_order().expect("it is stopping");
        let live = live.map(|(epoch, handed, stopping)| LocalCompute {
            epoch: Epoch(epoch),
            run: handed.map(run),
            stop: stopping.then(|| stop.clone()),
            cancelled: None,
            answered: Default::default(),
            steered: Default::default(),
            settings: handed_settings,
        });
        let local = Local { floor: Epoch(floor), seen: Generation(seen), live };
        let order = match which {
            0 => Order::Up {
                run: None,
                cancel: None,
                answers: Vec::new(),
                steers: Vec::new(),
                settings,
            },
            1 => Order::Up {
                run: Some(run(1)),
                cancel: None,
                answers: vec![scene::ask(1).id],
                steers: vec![run(2)],
                settings,
            },
            2 => Order::Down { stop },
            3 => Order::Closed,
            4 => Order::Gone { stop: Some(stop) },
            _ => Order::Gone { stop: None },
        };
        let down = matches!(order, Order::Down { .. } | Order::Gone { stop: Some(_) });
        let uid = scene::session().session.uid;
        let (epoch, generation) = (Epoch(epoch), Generation(generation));
        match converge(&local, &Assignment { uid, epoch, generation, order }) {
            Action::Nothing => {}
            _ if generation < local.seen => prop_assert!(false, "an old frame was obeyed"),
            Action::Start { epoch, .. } | Action::CloseUnstarted { epoch, .. } => {
                prop_assert!(epoch > local.floor && local.live.is_none());
            }
            Action::HandSettings { settings: handed } => {
                let compute = local.live.expect("a live compute");
                prop_assert!(compute.epoch == epoch && compute.stop.is_none());
                prop_assert!(settings == Some(handed) && compute.settings != settings);
            }
            Action::HandRun { .. } => {
                let compute = local.live.expect("a live compute");
                prop_assert!(compute.epoch == epoch && compute.stop.is_none());
                let current = settings.is_none() || compute.settings == settings;
                prop_assert!(current, "a run before the settings that it was asked under");
            }
            Action::Stop { .. } => prop_assert!(down && local.live.is_some()),
            Action::AnswerClosed { epoch } | Action::Forget { epoch } => {
                prop_assert!(epoch <= local.floor);
            }
            Action::RemoveFiles => prop_assert!(local.live.is_none()),
            Action::HandAnswer { .. } => {
                let compute = local.live.expect("a live compute");
                prop_assert!(compute.epoch == epoch && compute.stop.is_none());
                let current = settings.is_none() || compute.settings == settings;
                prop_assert!(current, "an answer before the settings that are its later word");
            }
            Action::Cancel { .. } | Action::HandSteer { .. } => {
                prop_assert!(local.live.is_some_and(|live| live.epoch == epoch && live.stop.is_none()));
            }
        }
    }
}
