/*
 * Lamport's TwoPhase for SPIN, action for action (Gray, Lamport, Consensus on Transaction Commit, TODS 2006).
 *
 *   spin -DN=9 -a two_phase.pml && gcc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -m1000
 *
 * Each action is one deterministic step from the head of the loop back to it, so one state that SPIN stores is one
 * state of the specification. It is written to be fast: one process, and a bit for each resource manager. (As a
 * process for each, with arrays, it takes a third longer.)
 *
 * Messages are never consumed. Who has sent Prepared is kept; that COMMIT or ABORT was sent follows from what the
 * manager decided, and who is prepared from who has sent Prepared and knows of no end.
 */

#ifndef N
#define N 3                        /* resource managers, 3 to 10 */
#endif

mtype = { collecting, commit, abort };

mtype manager = collecting;
short sent, seen;                  /* Prepared, by the resource manager and by the manager */
short committed, aborted;          /* who is */

#define has(set, me) ((set & (1 << me)) != 0)
#define add(set, me) set = set | (1 << me)
#define is_working(me) (!has((sent | committed | aborted), me))

#define consistent assert(committed == 0 || aborted == 0)

#define actions_of(me) \
  :: d_step { is_working(me) -> add(sent, me) } \
  :: d_step { is_working(me) -> add(aborted, me); consistent } \
  :: d_step { manager == collecting && has(sent, me) && !has(seen, me) -> add(seen, me) } \
  :: d_step { \
       manager == commit && !has(committed, me) -> \
       add(committed, me); aborted = aborted & ~(1 << me); consistent \
     } \
  :: d_step { \
       manager == abort && !has(aborted, me) -> \
       add(aborted, me); committed = committed & ~(1 << me); consistent \
     }

active proctype world() {
end:
  do
  :: d_step { manager == collecting && seen == (1 << N) - 1 -> manager = commit }
  :: d_step { manager == collecting -> manager = abort }
  actions_of(0)
  actions_of(1)
  actions_of(2)
#if N > 3
  actions_of(3)
#endif
#if N > 4
  actions_of(4)
#endif
#if N > 5
  actions_of(5)
#endif
#if N > 6
  actions_of(6)
#endif
#if N > 7
  actions_of(7)
#endif
#if N > 8
  actions_of(8)
#endif
#if N > 9
  actions_of(9)
#endif
  od
}
