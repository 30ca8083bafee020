export async function takeShots() {
  return 0;
}
