use coalmine_sim::testing;

#[test]
fn no_number_is_given_twice() {
    testing::sweep(&super::suite(), "tickets", 0..200);
}

#[test]
fn what_was_found_does_not_come_back() {
    testing::replay(&super::suite(), "examples/tickets/capsules");
}

#[test]
fn no_number_is_given_twice_in_any_order_of_things() {
    testing::check(&super::suite(), "tickets");
}

#[test]
fn no_client_is_told_the_number_of_another() {
    testing::check(&super::suite(), "told");
}
