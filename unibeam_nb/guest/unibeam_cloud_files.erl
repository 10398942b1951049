%% The section write_files of user data: files below the program's home, /tmp and /run, which can be written to in every
%% image. A file that cannot be, or may not be, is refused by itself with a line on the console.
-module(unibeam_cloud_files).

-include_lib("kernel/include/file.hrl").

-export([write/2, gunzip/2]).

-define(ROOM, 8388608).
-define(PLACES, [<<"/var/lib/unibeam/">>, <<"/tmp/">>, <<"/run/">>]).
-define(OURS, <<"/run/unibeam">>).

write(Files, Root) ->
    write(Files, 1, Root, ?ROOM).

write([File | Rest], Number, Root, Room) ->
    Used = try one(File, Root, Room)
    catch
        throw:{no, Why} ->
            Which = ["file ", integer_to_list(Number), " of write_files", path_of(File)],
            unibeam_cloud:say([Which, " is refused: ", Why]),
            0
    end,
    write(Rest, Number + 1, Root, Room - Used);
write([], _, _, _) ->
    ok.

path_of({map, Pairs}) ->
    case lists:keyfind(<<"path">>, 1, Pairs) of {_, _, Path} when is_binary(Path) -> [" (", Path, ")"]; _ -> "" end;
path_of(_) -> "".

one({map, Pairs}, Root, Room) ->
    Path = path(get(<<"path">>, Pairs, none)),
    Bytes = decoded(encoding(get(<<"encoding">>, Pairs, <<>>)), content(get(<<"content">>, Pairs, <<>>)), Room),
    byte_size(Bytes) =< Room orelse throw({no, "all files together may have 8 MB"}),
    Mode = mode(get(<<"permissions">>, Pairs, 8#644)),
    Append = get(<<"append">>, Pairs, false) =:= true,
    Place = <<(list_to_binary(Root))/binary, Path/binary>>,
    make_parents(Place, byte_size(list_to_binary(Root)) + 1),
    wrote(put_bytes(Place, Bytes, Append)),
    wrote(prim_file:write_file_info(Place, #file_info{mode = Mode})),
    byte_size(Bytes);
one(_, _, _) ->
    throw({no, "it is no mapping with a path"}).

get(Key, Pairs, Otherwise) ->
    case lists:keyfind(Key, 1, Pairs) of
        {_, _, null} -> Otherwise;
        {_, _, Value} -> Value;
        false -> Otherwise
    end.

wrote(ok) -> ok;
wrote({error, Why}) -> throw({no, ["it cannot be written (", atom_to_list(Why), ")"]}).

put_bytes(Place, Bytes, false) ->
    prim_file:write_file(Place, Bytes);
put_bytes(Place, Bytes, true) ->
    case prim_file:open(Place, [append, raw, binary]) of
        {ok, File} ->
            Done = prim_file:write(File, Bytes),
            _ = prim_file:close(File),
            Done;
        Error -> Error
    end.

%% ---- where ------------------------------------------------------------------------------------------------

path(Path) when is_binary(Path) ->
    Parts = binary:split(Path, <<"/">>, [global]),
    lists:member(<<"..">>, Parts) andalso throw({no, "its path contains '..'"}),
    [] =:= [Byte || <<Byte>> <= Path, Byte < 32] orelse throw({no, "its path has a control character"}),
    %% As the kernel reads it: without empty parts and those that stand for the same directory.
    Plain = << <<"/", Part/binary>> || Part <- Parts, Part =/= <<>>, Part =/= <<".">> >>,
    binary:first(<<Path/binary, 0>>) =:= $/ andalso binary:last(Path) =/= $/ orelse
        throw({no, "its path is not that of a file"}),
    [] =/= [Place || Place <- ?PLACES, starts(Plain, Place)] orelse
        throw({no, "it may lie below /var/lib/unibeam, /tmp or /run only"}),
    starts(Plain, ?OURS) andalso throw({no, "/run/unibeam is the machine's own"}),
    Plain;
path(_) ->
    throw({no, "it has no path"}).

starts(Path, Begin) ->
    byte_size(Path) >= byte_size(Begin) andalso binary:part(Path, 0, byte_size(Begin)) =:= Begin.

make_parents(Place, From) ->
    case binary:match(Place, <<"/">>, [{scope, {From, byte_size(Place) - From}}]) of
        nomatch -> ok;
        {At, _} ->
            _ = prim_file:make_dir(binary:part(Place, 0, At)),
            make_parents(Place, At + 1)
    end.

mode(Text) when is_binary(Text) ->
    case catch binary_to_integer(Text, 8) of
        Mode when is_integer(Mode) -> mode(Mode);
        _ -> throw({no, "its permissions are no octal number"})
    end;
mode(Mode) when is_integer(Mode), Mode >= 0, Mode =< 8#7777 -> Mode;
mode(_) -> throw({no, "its permissions are no octal number"}).

%% ---- what -------------------------------------------------------------------------------------------------

content(Text) when is_binary(Text) -> Text;
content(Number) when is_integer(Number) -> integer_to_binary(Number);
content({tag, <<"!!binary">>, Text}) when is_binary(Text) -> base64(Text);
content({tag, <<"!!str">>, Text}) when is_binary(Text) -> Text;
content(_) -> throw({no, "its content is no text"}).

encoding(Name) ->
    Known = [{<<>>, []}, {<<"text/plain">>, []}, {<<"gz">>, [gzip]}, {<<"gzip">>, [gzip]}, {<<"b64">>, [base64]},
             {<<"base64">>, [base64]}, {<<"gz+b64">>, [base64, gzip]}, {<<"gz+base64">>, [base64, gzip]},
             {<<"gzip+b64">>, [base64, gzip]}, {<<"gzip+base64">>, [base64, gzip]}],
    case lists:keyfind(Name, 1, Known) of
        {_, Steps} -> Steps;
        false -> throw({no, "its encoding is none of b64, gzip and gz+b64"})
    end.

decoded([], Bytes, _) -> Bytes;
decoded([base64 | Rest], Bytes, Room) -> decoded(Rest, base64(Bytes), Room);
decoded([gzip | Rest], Bytes, Room) ->
    case gunzip(Bytes, Room) of
        {ok, Whole} -> decoded(Rest, Whole, Room);
        {error, Why} -> throw({no, Why})
    end.

%% Unpacked piece by piece, so that a few bytes cannot become more than Limit. {ok, Bytes} or {error, Why}.
gunzip(Packed, Limit) ->
    Stream = zlib:open(),
    try
        zlib:inflateInit(Stream, 31),
        inflate(zlib:safeInflate(Stream, Packed), Stream, [], 0, Limit)
    catch
        error:_ -> {error, "its compression is broken"}
    after
        zlib:close(Stream)
    end.

inflate({More, Piece}, Stream, Done, Size, Limit) ->
    Whole = Size + iolist_size(Piece),
    if
        Whole > Limit -> {error, "it is too large unpacked"};
        More =:= continue -> inflate(zlib:safeInflate(Stream, []), Stream, [Done | Piece], Whole, Limit);
        true -> zlib:inflateEnd(Stream), {ok, iolist_to_binary([Done | Piece])}
    end.

base64(Text) ->
    Digits = << <<(digit(Byte)):6>> || <<Byte>> <= Text, Byte > 32, Byte =/= $= >>,
    %% What is left over of the last group is less than a byte.
    Count = bit_size(Digits) div 8,
    <<Bytes:Count/binary, _/bitstring>> = Digits,
    Bytes.

digit(Byte) when Byte >= $A, Byte =< $Z -> Byte - $A;
digit(Byte) when Byte >= $a, Byte =< $z -> Byte - $a + 26;
digit(Byte) when Byte >= $0, Byte =< $9 -> Byte - $0 + 52;
digit($+) -> 62;
digit($/) -> 63;
digit(_) -> throw({no, "it is not base64"}).
