/** Something the person at the keyboard can mend: shown as its message alone, without a stack, and ends the program with 1. */
export class Refusal extends Error {
  override name = "Refusal";
}
