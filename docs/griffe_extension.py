"""What griffe has to be told of the package."""

from griffe import Alias, Extension


class FunctionsBeforeModules(Extension):
    """Takes `jaxmlp.training.fit` for the function, as Python does, not for its module."""

    def on_package(self, *, pkg, loader, **kwargs):
        """Replaces what a package imports from its module of the same name."""
        # Aliases are found by their paths, which lead through the modules replaced here.
        loader.resolve_aliases(implicit=True, external=False)
        packages = [pkg]
        for package in packages:
            packages += [m for m in package.modules.values() if m.is_init_module]
        for package in packages:
            for name in package.exports or ():
                member = package.members.get(name)
                if member is not None and member.is_module and name in member.members:
                    package.members[name] = Alias(name, member[name], parent=package)
