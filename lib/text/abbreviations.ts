/**
 * Words that end in a point in the middle of a sentence, by what the point may mean; in lower case, without the last
 * point. A word that is missing here costs a pause too many, one too many a pause too few.
 */

const set = (words: string): ReadonlySet<string> => new Set(words.trim().split(/\s+/));

/** Before a name. With a small letter they may end a sentence. */
export const titles = set(`
  mr mrs ms mx dr prof rev hon gov sen rep pres gen col maj capt cpt cmdr lt sgt cpl pvt adm cdr insp det supt
  fr messrs mme mlle mgr msgr
`);

/** Something always follows. */
export const introducing = set('e.g eg i.e ie viz cf vs v approx a.k.a aka resp esp incl w.r.t');

/** Something follows where it is a number (`No. 5`, `pp. 3–7`, `Vol. II`); else they are words like others. */
export const beforeNumber = set(`
  no nos nr p pp vol vols ch chap fig figs eq eqs sec sect art para par op ver tab pt ex est ext tel rs c ca
  jan feb mar apr jun jul aug sep sept oct nov dec
`);

/** A sentence ends with them only before a word that begins one: `Acme Inc. The`, but `Acme Inc. Chairman`. */
export const seldomEnds = set(`
  inc ltd co corp llc plc bros assn dept univ inst jr sr esq st mt ft ave blvd rd hwy
  ph.d phd b.sc m.sc al eds trans gal qt lb lbs oz hr hrs min mins sec secs kg km cm mm mph
  jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun
  calif mass mich minn tenn conn wash penn ariz colo fla ga ill ind kans ky la md mo mont neb nev okla ore tex va wis
`);

/** A sentence ends with them before a capital, unless that names a time zone, a day or a month: `5 p.m. Eastern`. */
export const oftenEnds = set('etc a.m p.m');

/** Of those above, what is a word of its own without a capital. */
export const onlyCapitalised = set(`
  sat sun mar wed mon fri dec ga ill ind la md mo va ky ore wash mass fla gal min sec co inst tex mont neb st mt
`);

export const timeNames = set(`
  eastern central mountain pacific greenwich gmt utc est edt cst cdt mst mdt pst pdt bst cet cest
  monday tuesday wednesday thursday friday saturday sunday
  january february march april may june july august september october november december
`);

/** Words that begin a sentence when they have a capital, and are hardly names. */
export const starters = set(`
  the he she it they we this that these those there then but and when while if in on at after before since until
  because although though however his her their our its your from with for by as what why how where which
  a i now not yes here some many most all each every both once another nobody nothing everyone everything someone
  is are was were has have had did does could would should please perhaps meanwhile later today tomorrow yesterday
`);

/** They begin a clause. */
export const conjunctions = set(`
  and or but nor so yet because although though while when where which who whom whose that if unless until since as
  after before whether whereas than
`);

/** They lean on the next word: nothing is parted after them if it can be helped. */
export const clinging = set(`
  the a an of to in on at by for from with into my your his her its our their this that these those no not very
  mr mrs ms dr is are was were be been has have had will would can could should may might must do does did i
`);
