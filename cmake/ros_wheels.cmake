# Only for the pip-only ROS wheels (setup.py passes it as CMAKE_PROJECT_INCLUDE); a normal ROS install
# never reads it. Both functions run at the end of the top-level CMakeLists.txt.
cmake_policy(VERSION 3.21)

# The wheels' exported <pkg>__rosidl_generator_py targets carry the include path of the container
# they were built in (/opt/python/cp311-cp311/...), which CMake rejects at generate time.
function(ros_wheels_drop_stale_includes)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(dirs ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT dirs)
      continue()
    endif()
    set(kept "")
    foreach(dir IN LISTS dirs)
      if(NOT IS_ABSOLUTE "${dir}" OR EXISTS "${dir}")
        list(APPEND kept "${dir}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endforeach()
endfunction()

# With the virtual environment inside the source tree (.venv), our own exported target would name NumPy's
# headers by a path below the source tree, which CMake rejects too: such paths serve the build only.
function(ros_wheels_keep_venv_out_of_exports)
  set(target ${PROJECT_NAME}__rosidl_generator_py)
  if(NOT TARGET ${target})  # a package without messages, of .ci/launch-tools
    return()
  endif()
  get_target_property(dirs ${target} INTERFACE_INCLUDE_DIRECTORIES)
  set(kept "")
  foreach(dir IN LISTS dirs)
    cmake_path(IS_PREFIX CMAKE_SOURCE_DIR "${dir}" inside)
    if(inside)
      set(dir "$<BUILD_INTERFACE:${dir}>")
    endif()
    list(APPEND kept "${dir}")
  endforeach()
  set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
endfunction()

cmake_language(DEFER CALL ros_wheels_drop_stale_includes)
cmake_language(DEFER CALL ros_wheels_keep_venv_out_of_exports)
