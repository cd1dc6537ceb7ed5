#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and runs the consumer in one of the ways people use weft; called by ctest.
#   run.sh prefix BUILD PREFIX              install the build tree BUILD into PREFIX
#   run.sh find_package PREFIX WORK         consumer through find_package(weft)
#   run.sh pkg_config PREFIX WORK           consumer through pkg-config
#   run.sh cann PREFIX WORK                 a C program for CANN: pkg-config, cann-flags and CMake
#   run.sh add_subdirectory SOURCES WORK    consumer and a shared weft in one CMake build
# CMAKE, CXX, CXXFLAGS and GENERATOR come from the build that is tested.
set -euo pipefail
consumer=$(dirname "${BASH_SOURCE[0]}")/consumer
mode=$1 from=$2 work=$3

configure() {
  "$CMAKE" -S "$consumer" -B "$work" -G "$GENERATOR" -DCMAKE_CXX_COMPILER="$CXX" \
    -DCMAKE_CXX_FLAGS="$CXXFLAGS" "$@"
}

case $mode in
  prefix)
    rm -rf "$work"
    "$CMAKE" --install "$from" --prefix "$work" ;;
  find_package)
    rm -rf "$work"
    configure -DCMAKE_PREFIX_PATH="$from"
    "$CMAKE" --build "$work"
    "$work/consumer" ;;
  pkg_config)
    rm -rf "$work"
    mkdir -p "$work"
    pc=$(find "$from" -name weft.pc -printf '%h')
    export PKG_CONFIG_PATH=$pc
    # shellcheck disable=SC2046,SC2086  # lists of flags
    "$CXX" $CXXFLAGS -std=c++20 "$consumer/main.cc" -o "$work/consumer" $(pkg-config --cflags --libs weft)
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir weft) "$work/consumer" ;;
  cann)
    rm -rf "$work"
    mkdir -p "$work"
    source=$(dirname "${BASH_SOURCE[0]}")/cann_consumer.c
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(find "$from" -name weft-cann.pc -printf '%h')
    lib=$(pkg-config --variable=libdir weft-cann)
    # shellcheck disable=SC2046  # lists of flags
    "$CXX" $CXXFLAGS -x c "$source" -x none -o "$work/by_pkg_config" $(pkg-config --cflags --libs weft-cann)
    LD_LIBRARY_PATH=$lib "$work/by_pkg_config"
    # shellcheck disable=SC2046
    "$CXX" $CXXFLAGS -x c "$source" -x none -o "$work/by_cann_flags" \
      $("$from/bin/weft" cann-flags --cflags) -L"$lib" -lascendcl -lnnopbase -lopapi -lhccl
    LD_LIBRARY_PATH=$lib "$work/by_cann_flags"
    # shellcheck disable=SC2046
    "$CXX" $CXXFLAGS -x c "$source" -x none -o "$work/by_tool" $("$from/bin/weft" cann-flags --cflags --libs)
    "$work/by_tool"
    (
      # shellcheck disable=SC1090
      source "$(find "$from" -name set_env.sh)"
      # shellcheck disable=SC2086
      "$CXX" $CXXFLAGS -x c "$source" -x none -o "$work/by_set_env" -I"$ASCEND_HOME_PATH/include" \
        -I"$ASCEND_HOME_PATH/include/aclnnop" -I"$ASCEND_HOME_PATH/include/compat/op/examples" \
        -L"$ASCEND_HOME_PATH/lib64" -lascendcl
      "$work/by_set_env"
    )
    configure -DCMAKE_PREFIX_PATH="$from" -DWEFT_CANN_PROGRAM="$(realpath "$source")"
    "$CMAKE" --build "$work"
    "$work/cann_consumer" ;;
  add_subdirectory)
    # Neither optimised nor with debug information: the quickest to compile. The folder is kept, so a repeat compiles what
    # changed.
    configure -DWEFT_SOURCE_DIR="$from" -DCMAKE_BUILD_TYPE= -DBUILD_SHARED_LIBS=ON -DWEFT_INSTALL=ON
    nice -n 19 "$CMAKE" --build "$work" --target consumer
    "$work/consumer" ;;
  *) sed -n '3,9p' "$0"; exit 2 ;;
esac
