#!/usr/bin/env escript
%% Make NAME.boot beside NAME.rel: make_boot.escript NAME.rel EBIN...
main([Rel | Ebins]) ->
    Directory = filename:dirname(Rel),
    Options = [no_dot_erlang, no_warn_sasl, silent, {path, Ebins}, {outdir, Directory}],
    case systools:make_script(filename:rootname(Rel), Options) of
        {ok, _Module, _Warnings} -> halt(0);
        {error, Module, Error} -> io:format("~ts~n", [Module:format_error(Error)]), halt(1)
    end.
