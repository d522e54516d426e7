# Sourced by ./vorta-bench and ./run-tests: sets up the machine once and builds. All output goes to stderr.
# Needs: root (the repository's folder). cuda_everywhere=yes builds the CUDA variants on machines without a GPU, too.
# Exits 3 when this machine lacks something.

say() { printf 'setup: %s\n' "$*" >&2; }
lacks() { printf 'setup: %s\n' "$*" >&2; exit 3; }

missing_packages() {
  local package
  grep -v '^#' "$root/cmake/system-packages.txt" | while read -r package; do
    case "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" in
      *"ok installed") ;;
      *) printf '%s ' "$package" ;;
    esac
  done
}

# Checked before anything is written, so that a refusal leaves nothing half done.
check_machine() {
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || lacks "needs Linux on x86-64, this is $(uname -s) on $(uname -m)"
  command -v dpkg-query >/dev/null || lacks "needs Debian or Ubuntu (no dpkg here); packages wanted: $(grep -v '^#' "$root/cmake/system-packages.txt" | tr '\n' ' ')"
  command -v python3 >/dev/null || lacks "needs python3 (3.10 or newer): apt-get install -y python3"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    lacks "needs Python 3.10 or newer for the torch 2.11 wheel, this is $(python3 --version)"
  [ -w "$root" ] || lacks "cannot write to $root, where .venv and build would go"
}

install_packages() {
  local packages sudo=""
  packages="$(missing_packages)"
  [ -n "$packages" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
      sudo="sudo"
    else
      printf 'setup: these system packages are missing and need root. Run this, then call again:\n\n  sudo apt-get update && sudo apt-get install -y --no-install-recommends %s\n\n' "$packages" >&2
      exit 3
    fi
  fi
  say "installing system packages: $packages"
  $sudo apt-get update -qq >&2 || say "apt-get update failed; trying with the package lists at hand"
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >"$root/build/setup-apt.log" 2>&1 ||
    { tail -n 15 "$root/build/setup-apt.log" >&2; lacks "apt-get failed; log: build/setup-apt.log"; }
}

# A stamp inside .venv marks a finished set-up of exactly these requirements; anything else is made anew.
install_wheels() {
  local stamp="$root/.venv/.requirements-done"
  cmp -s "$root/cmake/requirements.txt" "$stamp" && return 0
  say "making .venv with pinned wheels (LibTorch 2.11, CMake); about 700 MB"
  rm -rf "$root/.venv"
  python3 -m venv "$root/.venv" >&2 || lacks "python3 -m venv failed; is python3-venv installed?"
  "$root/.venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r "$root/cmake/requirements.txt" >&2 ||
    lacks "pip could not install the wheels of cmake/requirements.txt"
  cp "$root/cmake/requirements.txt" "$stamp"
}

gpu_driver_here() { [ -e /dev/nvidiactl ] || [ -e /proc/driver/nvidia/version ] || [ -e /usr/lib/wsl/lib/libcuda.so.1 ]; }

cuda_wanted() { [ "${cuda_everywhere:-no}" = yes ] || gpu_driver_here; }

system_has_cuda_13() {
  local nvcc
  for nvcc in "$(command -v nvcc)" "${CUDA_HOME:-/nonexistent}/bin/nvcc" /usr/local/cuda/bin/nvcc; do
    [ -x "$nvcc" ] && "$nvcc" --version | grep -q 'release 13\.' && return 0
  done
  return 1
}

# add_wheels NAME WHY: the wheels of cmake/requirements-NAME.txt into .venv, once; a new .venv gets them anew.
add_wheels() {
  local list="$root/cmake/requirements-$1.txt" stamp="$root/.venv/.requirements-$1-done"
  cmp -s "$list" "$stamp" && return 0
  say "$2"
  "$root/.venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r "$list" >&2 ||
    lacks "pip could not install the wheels of cmake/requirements-$1.txt"
  cp "$list" "$stamp"
}

install_cuda_wheels() {
  if cuda_wanted && ! system_has_cuda_13; then add_wheels cuda "no CUDA 13 compiler here: adding its wheels to .venv (270 MB)"; fi
  if gpu_driver_here; then add_wheels gpu "an NVIDIA driver is here: adding the libraries of LibTorch's CUDA half to .venv (2.6 GB)"; fi
}

install_vbench_lists() { add_wheels vbench "adding VBench's prompt and label lists to .venv (2 MB)"; }

# Two gigabytes a compiler at most.
build_jobs() {
  local cores memory_gb
  cores="$(nproc)"
  memory_gb="$(awk '/MemAvailable/ {print int($2 / 2097152)}' /proc/meminfo)"
  [ "$memory_gb" -lt 1 ] && memory_gb=1
  [ "$cores" -lt "$memory_gb" ] && echo "$cores" || echo "$memory_gb"
}

# build_targets TARGET...: configures when needed and builds; shows the log's end on failure.
build_targets() {
  local log="$root/build/build.log" cmake="$root/.venv/bin/cmake" started
  started="$(date +%s)"
  mkdir -p "$root/build"
  if [ ! -f "$root/build/build.ninja" ] || { cuda_wanted && ! grep -qx 'VORTA_CUDA:STRING=ON' "$root/build/CMakeCache.txt"; }; then
    (cd "$root" && "$cmake" --preset dev -DVORTA_UNITY=ON -DVORTA_CUDA="$(cuda_wanted && echo ON || echo OFF)") >"$log" 2>&1 || { tail -n 30 "$log" >&2; lacks "configuring failed; log: build/build.log"; }
  fi
  say "building $* (a few minutes the first time; log: build/build.log)"
  "$cmake" --build "$root/build" --parallel "$(build_jobs)" --target "$@" >>"$log" 2>&1 ||
    { grep -E 'error|FAILED' "$log" | tail -n 30 >&2; say "build failed; log: build/build.log"; exit 70; }
  say "built in $(($(date +%s) - started)) s"
}

# set_up TARGET...: everything, under one lock so that two first calls do not collide.
set_up() {
  check_machine
  mkdir -p "$root/build"
  exec 9>"$root/build/.setup-lock"
  if command -v flock >/dev/null; then flock 9; fi
  install_packages
  install_wheels
  install_cuda_wheels
  install_vbench_lists
  build_targets "$@"
  exec 9>&-
}
