# SPDX-License-Identifier: Apache-2.0
# The installed package: library, headers, the tool, find_package(weft) and weft.pc.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# A static weft leaves fmt, hwloc and threads to the program that links it; a shared one does not.
get_target_property(type weft TYPE)
if(type STREQUAL SHARED_LIBRARY)
  set(WEFT_IS_SHARED TRUE)
  set(WEFT_PC_REQUIRES "Requires.private: fmt hwloc")
else()
  set(WEFT_IS_SHARED FALSE)
  set(WEFT_PC_REQUIRES "Requires: fmt hwloc")
  set(WEFT_PC_LIBS " -pthread")
endif()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weft)
configure_package_config_file(cmake/package/weft-config.cmake.in package/weft-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(package/weft-config-version.cmake COMPATIBILITY SameMinorVersion)

# weft.pc finds its prefix from where it lies, so `cmake --install --prefix` may choose it late.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH WEFT_PC_TO_PREFIX /${pc_dir} /)
configure_file(cmake/package/weft.pc.in package/weft.pc @ONLY)

install(TARGETS weft EXPORT weft-targets)
install(DIRECTORY include/weft TYPE INCLUDE FILES_MATCHING PATTERN "*.h")
install(EXPORT weft-targets NAMESPACE weft:: DESTINATION ${package_dir})
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/package/weft-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/package/weft-config-version.cmake
  DESTINATION ${package_dir})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/package/weft.pc DESTINATION ${pc_dir})
if(WEFT_BUILD_TOOLS)
  install(TARGETS weft_cli)
endif()

if(WEFT_BUILD_CANN)
  install(TARGETS weft_cann EXPORT weft-targets)
  foreach(name ${WEFT_CANN_NAMES})
    install(FILES ${PROJECT_BINARY_DIR}/cann/lib/lib${name}.so DESTINATION ${CMAKE_INSTALL_LIBDIR})
  endforeach()
  install(DIRECTORY cann/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weft-cann)
  install(DIRECTORY ${PROJECT_BINARY_DIR}/cann/include/weft-cann/compat DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weft-cann)
  set(home ${CMAKE_INSTALL_DATADIR}/weft/cann)  # ASCEND_HOME_PATH, see cann/set_env.sh
  file(RELATIVE_PATH to_headers /${home} /${CMAKE_INSTALL_INCLUDEDIR}/weft-cann)
  file(RELATIVE_PATH to_libraries /${home} /${CMAKE_INSTALL_LIBDIR})
  file(CREATE_LINK ${to_headers} ${CMAKE_CURRENT_BINARY_DIR}/package/include SYMBOLIC)
  file(CREATE_LINK ${to_libraries} ${CMAKE_CURRENT_BINARY_DIR}/package/lib64 SYMBOLIC)
  install(FILES cann/set_env.sh ${CMAKE_CURRENT_BINARY_DIR}/package/include ${CMAKE_CURRENT_BINARY_DIR}/package/lib64
    DESTINATION ${home})
  configure_file(cmake/package/weft-cann.pc.in package/weft-cann.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/package/weft-cann.pc DESTINATION ${pc_dir})
endif()
