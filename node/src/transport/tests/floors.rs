//! What each class gets of a link that all of them fill.

use super::*;

/// Goal: streams take turns, so that each class gets its share of the wire: a tenth at least. Method: 320 KB of each
/// class wait all the time, 16 MiB in all; should this test be late to send more, bulk runs out last and has more.
#[tokio::test(flavor = "multi_thread")]
async fn every_class_gets_a_tenth_of_a_full_link() {
    const LENGTH: usize = 8 * 1024 - PREFIX;
    const PREFIX: usize = 4;
    const QUEUED: usize = 40;
    const TOTAL: usize = 16 * 1024 * 1024;
    let (mut a, b, at_a, _) = linked().await;
    let Peer { inbound, commands: _commands, events: _events, .. } = b;
    for mut frames in inbound {
        tokio::spawn(async move { while frames.recv().await.is_some() {} });
    }
    let send = |class: Class, n: usize| {
        move |transport: &mut Transport<Bytes>| {
            for _ in 0..n {
                let transmit = Transmit { head: body(1, 1), body: body(1, LENGTH - 1) };
                transport.send(at_a, class, transmit).expect("queued");
            }
            transport.wake(at_a);
        }
    };
    for class in Class::ALL {
        a.ask(send(class, QUEUED)).await;
    }
    let mut written = [0; Class::ALL.len()];
    while written.iter().sum::<usize>() < TOTAL {
        let event = within(a.events.recv()).await.expect("driver runs");
        let TransportEvent::Written { class, bytes, .. } = event else { panic!("{event:?}") };
        let before = written[class as usize];
        written[class as usize] += bytes;
        let frames = |bytes: usize| bytes / (LENGTH + PREFIX);
        a.ask(send(class, frames(before + bytes) - frames(before))).await;
    }
    for class in Class::ALL {
        assert!(written[class as usize] * 10 >= TOTAL, "{class:?}: {written:?}");
    }
}
