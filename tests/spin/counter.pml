/*
 * The write-ahead counter in its world, a second time: written from the words of the node's contract and of
 * the fault model, with none of the code. SPIN counts its states; the checker must count as many.
 *
 *   spin -a counter.pml && gcc -O1 -DSAFETY -DNOREDUCE -o pan pan.c
 *   CLIENTS=2 SYNC=0 CRASHES=1 WIPES=0 CUTS=0 DROPS=1 DUPLICATES=0 TIMEOUTS=1 RETRIES=0 ./pan -E -m1000000
 *
 * One state stored by SPIN is one world, besides the first: there the limits are not read yet. Everything that
 * happens is one atomic step, which ends at the head of the loop with all scratch variables at zero.
 *
 * What is not kept, because it follows from the rest: the counter's memory (who is in its journal, while it is
 * up), a client's timer (armed while it asks) and what waits for a client's disk (the answer, while it saves).
 */

#define MOST 4                     /* nodes at most: the counter is 0, its clients are 1, 2, 3 */
#define HELD 12                    /* answers that wait for the counter's disk, at most */
#define EFFECTS (HELD + 1)         /* what one step does, at most */

mtype = { asking, saving, counted, /* what a client knows; 0: nothing */
          append, send, reply };   /* what a crash may fall between */

/* The limits; constant once they are read. */
byte clients, max_crashes, max_wipes, max_cuts, max_drops, max_duplicates, max_timeouts, max_retries;
bool sync;

/* What was spent of them. */
byte crashes, wipes, cuts, drops, duplicates, timeouts, retries;
bool asked[MOST];

/* Nodes. The journal of node n begins at n * MOST. */
bool up[MOST];
byte lives[MOST], written[MOST], durable[MOST];
byte journal[MOST * MOST];
mtype state[MOST];

/* The answers that wait: each for so many records to be durable, for whom, and what it says. */
byte held, held_after[HELD], held_to[HELD], held_number[HELD];

/* Packets are sets: "count me" from each client, "you are number p" to each (at client * MOST + p). */
bool add[MOST];
bool added[MOST * MOST];

/* Directions that are cut, at from * MOST + to. */
bool cut[MOST * MOST];

/* Scratch: the effects of a step in their order, and what is chosen. */
byte effects, to[EFFECTS], what[EFFECTS];
mtype kind[EFFECTS];
byte me, k, p, i, n;

inline choose(variable, from, upto) {
  variable = from;
  do
  :: variable < upto -> variable++
  :: break
  od
}

inline effect(a_kind, a_to, a_what) {
  assert(effects < EFFECTS);
  kind[effects] = a_kind; to[effects] = a_to; what[effects] = a_what;
  effects++
}

/* Over a link that is cut nothing gets under way. */
inline happen(index) {
  if
  :: kind[index] == append ->
     journal[me * MOST + written[me]] = what[index];
     written[me]++;
     if
     :: sync -> durable[me] = written[me]
     :: else
     fi
  :: kind[index] == send && me == 0 && !cut[to[index]] -> added[to[index] * MOST + what[index]] = true
  :: kind[index] == send && me != 0 && !cut[me * MOST] -> add[me] = true
  :: else
  fi
}

/* Any prefix of the unsynced records survives a crash, nothing survives a wipe; memory is gone. */
inline crash() {
  if
  :: crashes < max_crashes ->
     crashes++;
     choose(n, durable[me], written[me])
  :: wipes < max_wipes ->
     wipes++;
     n = 0
  fi;
  for (i : n + 1 .. written[me]) { journal[me * MOST + i - 1] = 0 };
  written[me] = n; durable[me] = n;
  up[me] = false; state[me] = 0;
  if
  :: me == 0 ->
     do
     :: held > 0 -> held--; held_after[held] = 0; held_to[held] = 0; held_number[held] = 0
     :: else -> break
     od
  :: else
  fi
}

/* All effects happen; or so many of them, and then the node crashes. */
inline perform() {
  if
  :: true ->
     n = 0;
     do
     :: n < effects -> happen(n); n++
     :: else -> break
     od
  :: effects > 0 && (crashes < max_crashes || wipes < max_wipes) ->
     choose(p, 0, effects - 1);
     n = 0;
     do
     :: n < p -> happen(n); n++
     :: else -> break
     od;
     crash()
  fi
}

/* The counter's answer: it waits for all that is written when it is given, and for the answers before it. */
inline answer(client, number, after) {
  if
  :: sync || (after == durable[0] && held == 0) -> effect(send, client, number)
  :: else ->
     assert(held < HELD);
     held_after[held] = after; held_to[held] = client; held_number[held] = number;
     held++
  fi
}

inline forget_scratch() {
  do
  :: effects > 0 -> effects--; kind[effects] = 0; to[effects] = 0; what[effects] = 0
  :: else -> break
  od;
  me = 0; k = 0; p = 0; i = 0; n = 0
}

active proctype world() {
  d_step {
    c_code {
      now.clients = atoi(getenv("CLIENTS"));
      now.sync = atoi(getenv("SYNC"));
      now.max_crashes = atoi(getenv("CRASHES"));
      now.max_wipes = atoi(getenv("WIPES"));
      now.max_cuts = atoi(getenv("CUTS"));
      now.max_drops = atoi(getenv("DROPS"));
      now.max_duplicates = atoi(getenv("DUPLICATES"));
      now.max_timeouts = atoi(getenv("TIMEOUTS"));
      now.max_retries = atoi(getenv("RETRIES"));
    };
    for (i : 0 .. clients) { up[i] = true; lives[i] = 1 };
    i = 0
  };
  do
  :: atomic { /* "count me" from client k: delivered, delivered while a copy stays, or lost */
       choose(k, 1, clients);
       if
       :: add[k] && drops < max_drops -> drops++; add[k] = false
       :: add[k] ->
          if
          :: true -> add[k] = false
          :: up[0] && duplicates < max_duplicates -> duplicates++
          fi;
          if
          :: up[0] ->
             p = 0;
             for (i : 1 .. written[0]) {
               if
               :: journal[i - 1] == k -> p = i
               :: else
               fi
             };
             if
             :: p == 0 -> effect(append, 0, k); answer(k, written[0] + 1, written[0] + 1)
             :: else -> answer(k, p, written[0])
             fi;
             perform()
          :: else
          fi
       :: else
       fi;
       forget_scratch()
     }
  :: atomic { /* "you are number p" to client k, likewise */
       choose(k, 1, clients);
       choose(p, 1, clients);
       me = k;
       if
       :: added[k * MOST + p] && drops < max_drops -> drops++; added[k * MOST + p] = false
       :: added[k * MOST + p] ->
          if
          :: true -> added[k * MOST + p] = false
          :: up[k] && duplicates < max_duplicates -> duplicates++
          fi;
          if
          :: state[k] == asking ->
             effect(append, 0, p);
             if
             :: sync -> effect(reply, 0, 0); state[k] = counted
             :: else -> state[k] = saving
             fi;
             perform()
          :: else
          fi
       :: else
       fi;
       forget_scratch()
     }
  :: atomic { /* client k asks to be counted, or asks again */
       choose(k, 1, clients);
       me = k;
       if
       :: up[k] && (!asked[k] || retries < max_retries) ->
          if
          :: asked[k] -> retries++
          :: else -> asked[k] = true
          fi;
          if
          :: state[k] == 0 || state[k] == asking -> state[k] = asking; effect(send, 0, 0); perform()
          :: state[k] == counted -> effect(reply, 0, 0); perform()
          :: state[k] == saving
          fi
       :: else
       fi;
       forget_scratch()
     }
  :: atomic { /* client k has had no answer in time */
       choose(k, 1, clients);
       me = k;
       if
       :: state[k] == asking && timeouts < max_timeouts -> timeouts++; effect(send, 0, 0); perform()
       :: else
       fi;
       forget_scratch()
     }
  :: atomic { /* a disk makes the next record durable, which lets out what waited for it */
       choose(me, 0, clients);
       if
       :: up[me] && durable[me] < written[me] ->
          durable[me]++;
          if
          :: me == 0 ->
             do
             :: held > 0 && held_after[0] <= durable[0] ->
                effect(send, held_to[0], held_number[0]);
                held--;
                for (i : 1 .. held) {
                  held_after[i - 1] = held_after[i];
                  held_to[i - 1] = held_to[i];
                  held_number[i - 1] = held_number[i]
                };
                held_after[held] = 0; held_to[held] = 0; held_number[held] = 0
             :: else -> break
             od
          :: else -> effect(reply, 0, 0); state[me] = counted
          fi;
          perform()
       :: else
       fi;
       forget_scratch()
     }
  :: atomic { /* a node that is down starts; the counter tells all in its journal again */
       choose(me, 0, clients);
       if
       :: !up[me] ->
          up[me] = true;
          lives[me]++;
          if
          :: me == 0 ->
             i = 0;
             do
             :: i < written[0] -> effect(send, journal[i], i + 1); i++
             :: else -> break
             od
          :: me != 0 && written[me] > 0 -> state[me] = counted
          :: else
          fi;
          perform()
       :: else
       fi;
       forget_scratch()
     }
  :: atomic { /* a node that does nothing at the moment crashes */
       choose(me, 0, clients);
       if
       :: up[me] && (crashes < max_crashes || wipes < max_wipes) -> crash()
       :: else
       fi;
       forget_scratch()
     }
  :: atomic { /* a direction is cut, or both; what is under way there is lost */
       choose(k, 0, clients);
       choose(n, 0, clients);
       if
       :: k != n && cuts < max_cuts && !cut[k * MOST + n] ->
          cuts++;
          cut[k * MOST + n] = true;
          if
          :: true
          :: !cut[n * MOST + k] -> cut[n * MOST + k] = true
          fi;
          for (i : 1 .. clients) {
            add[i] = add[i] && !cut[i * MOST];
            for (p : 1 .. clients) { added[i * MOST + p] = added[i * MOST + p] && !cut[i] }
          }
       :: else
       fi;
       forget_scratch()
     }
  :: atomic { /* a direction is healed */
       choose(k, 0, clients);
       choose(n, 0, clients);
       cut[k * MOST + n] = false;
       forget_scratch()
     }
  od
}
