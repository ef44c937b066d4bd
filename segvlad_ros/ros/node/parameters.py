"""A node's parameters as :mod:`segvlad_ros.ros.node.parameter_table` has them: declared, checked, read."""
from __future__ import annotations

import difflib
from typing import Any

from segvlad_ros.ros.node.parameter_table import Parameter, table_of
from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError


class NodeParameters:
    """A node's declared parameters, read by name: ``parameters['top_k']``.

    :param is_configured: tells whether read-only parameters are locked
    """

    def __init__(self, node, name: str, is_configured) -> None:
        self._node = node
        self._table = {entry.name: entry for entry in table_of(name)}
        self._is_configured = is_configured
        for entry in self._table.values():
            self._declare(entry)
        node.add_on_set_parameters_callback(self._validate)
        self._tell_unknown()

    def _declare(self, entry: Parameter) -> None:
        from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
        from rclpy.parameter import Parameter as RosParameter
        misfit = SegvladError(f'parameter {entry.name} must be of type {entry.type_name}, such as {entry.default!r}')
        try:
            declared = self._node.declare_parameter(entry.name, entry.default, _descriptor(entry))
            if declared.value is None:  # was given as [], which has no type in rcl
                if not isinstance(entry.default, list):
                    raise misfit
                kind = RosParameter(entry.name, value=entry.default).type_
                self._node.set_parameters([RosParameter(entry.name, kind, [])])
        except InvalidParameterTypeException as error:
            raise misfit from error
        except InvalidParameterValueException as error:
            raise SegvladError(f'parameter {entry.name}: use {entry.allowed.replace("`", "")}') from error

    def _tell_unknown(self) -> None:
        """Name what was given to the node and is not a parameter of it, as rcl does not.

        Files for several nodes give each more than it has: only what looks like one of its own is worth a warning.
        """
        # which rclpy has in no public attribute
        unknown = [name for name in self._node._parameter_overrides
                   if not self._node.has_parameter(name) and not name.startswith('qos_overrides.')]
        for name in unknown:
            near = difflib.get_close_matches(name, self._table, 1)
            if near:
                self._node.get_logger().warning(f'there is no parameter {one_line(name, 100)}: is it {near[0]}?')
            else:
                self._node.get_logger().info(f'there is no parameter {one_line(name, 100)}; it is passed over')

    def get(self, name: str, default: Any) -> Any:
        """The value of a parameter that the node need not have."""
        return self[name] if name in self._table else default

    def __getitem__(self, name: str) -> Any:
        value = self._node.get_parameter(name).value
        return list(value) if isinstance(self._table[name].default, list) else value

    def check(self) -> None:
        """Check all values, those of the command line and parameter files too.

        :raises SegvladError: one is not allowed
        """
        for entry in self._table.values():
            problem = entry.check(self[entry.name])
            if problem:
                raise SegvladError(problem)

    def _validate(self, changes):
        from rcl_interfaces.msg import SetParametersResult
        for change in changes:
            entry = self._table.get(change.name)
            if entry is None:
                continue
            if entry.read_only and self._is_configured():
                return SetParametersResult(
                    successful=False, reason=f'{entry.name} takes effect at configure: clean up the node first')
            problem = entry.check(change.value)
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)


def _descriptor(entry: Parameter):
    """The rcl_interfaces descriptor of a parameter."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    descriptor = ParameterDescriptor(description=entry.description)
    if entry.one_of:
        descriptor.additional_constraints = 'one of: ' + ', '.join(entry.one_of)
    if entry.read_only:
        descriptor.additional_constraints += ('; ' if entry.one_of else '') + 'takes effect at configure'
    if entry.minimum is not None and entry.maximum is not None:
        if isinstance(entry.default, int):
            descriptor.integer_range = [IntegerRange(from_value=entry.minimum, to_value=entry.maximum)]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=entry.minimum, to_value=entry.maximum)]
    return descriptor
